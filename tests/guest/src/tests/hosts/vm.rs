//! A virtual machine with one CPU, made by nothing but ioctls of `/dev/kvm` (Documentation/virt/kvm/api.rst), and the program that
//! it runs, which tells whether what it finds is what it left behind: in its memory, and in its own `MSR_LSTAR`.

use crate::sys::{self, Sys};
use nix::errno::Errno;
use std::arch::global_asm;

const CREATE_VM: usize = 0xae01;
const VCPU_MMAP_SIZE: usize = 0xae04;
const GET_SUPPORTED_CPUID: usize = 0xc008_ae05;
const CREATE_VCPU: usize = 0xae41;
const SET_USER_MEMORY_REGION: usize = 0x4020_ae46;
const RUN: usize = 0xae80;
const SET_REGS: usize = 0x4090_ae82;
const GET_SREGS: usize = 0x8138_ae83;
const SET_SREGS: usize = 0x4138_ae84;
const SET_MSRS: usize = 0x4008_ae89;
const SET_CPUID2: usize = 0x4008_ae90;

const EXIT_IO: u32 = 2;
/// Where in `struct kvm_run` the reason for an exit is.
const EXIT_REASON: usize = 8;

/// The guest's memory, and what lies where in it.
const MEMORY: usize = 1 << 20;
const TABLES: usize = 0x1000;
const CODE: usize = 0x8000;
const RECORD: usize = 0x1_0000;

/// 64-bit code without a stack. The record (rbx): 0 exits, 8 what LSTAR has to be, 16 how often something was wrong, 24 rounds before
/// an exit, 32 and 40 the two addresses that LSTAR has in turn. Behind it two copies of 512 words that have to be equal.
///
/// CPUID makes an exit that KVM deals with by itself; LSTAR belongs to the guest alone (arch/x86/kvm/svm/svm.c,
/// svm_recalc_msr_intercepts), so it is read and written without one. SYSCALL goes where it leads.
macro_rules! guest_code {
    () => {
        "
    .globl synthjit_guest_begin, synthjit_guest_end, synthjit_guest_first, synthjit_guest_second
    .balign 16
synthjit_guest_begin:
    mov r14, rbx
    mov r13, 1
10: mov r12, [rbx + 24]
20: mov eax, 0
    cpuid
    mov rbx, r14
    mov ecx, 0xc0000082
    rdmsr
    shl rdx, 32
    or rax, rdx
    cmp rax, [rbx + 8]
    jne 60f
    xor r15d, r15d
    syscall
30: cmp r15, [rbx + 8]
    jne 60f
    mov rsi, r12
    and rsi, 511
    mov rax, [rbx + rsi * 8 + 0x1000]
    cmp rax, [rbx + rsi * 8 + 0x2000]
    jne 60f
    imul r13, r13, 0x5851f42d
    add r13, 0x14057b7e
    mov [rbx + rsi * 8 + 0x1000], r13
    mov [rbx + rsi * 8 + 0x2000], r13
    dec r12
    jnz 20b
    mov rax, [rbx + 32]
    cmp rax, [rbx + 8]
    jne 40f
    mov rax, [rbx + 40]
40: mov [rbx + 8], rax
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0xc0000082
    wrmsr
50: inc qword ptr [rbx]
    out 0x10, al
    jmp 10b
60: inc qword ptr [rbx + 16]
    jmp 50b
synthjit_guest_first:
    mov r15, [rbx + 32]
    jmp rcx
synthjit_guest_second:
    mov r15, [rbx + 40]
    jmp rcx
synthjit_guest_end:
"
    };
}
global_asm!(".pushsection .rodata", guest_code!(), ".popsection");

extern "C" {
    static synthjit_guest_begin: u8;
    static synthjit_guest_end: u8;
    static synthjit_guest_first: u8;
    static synthjit_guest_second: u8;
}

/// `struct kvm_segment`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Segment {
    base: u64,
    limit: u32,
    selector: u16,
    kind: u8,
    present: u8,
    dpl: u8,
    db: u8,
    s: u8,
    l: u8,
    g: u8,
    avl: u8,
    unusable: u8,
    padding: u8,
}

/// `struct kvm_sregs`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sregs {
    cs: Segment,
    data: [Segment; 5],
    tr: Segment,
    ldt: Segment,
    tables: [u64; 4],
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apic_base: u64,
    interrupts: [u64; 4],
}

/// `struct kvm_regs`.
#[repr(C)]
#[derive(Default)]
struct Regs {
    rax_rbx: [u64; 2],
    others: [u64; 14],
    rip: u64,
    rflags: u64,
}

/// `struct kvm_msrs` with two entries.
#[repr(C)]
struct Msrs {
    count: u32,
    pad: u32,
    entries: [[u64; 2]; 2],
}

/// The machine; it goes when its descriptors are closed, with its process at the latest.
pub struct Vm {
    fds: [i32; 3],
    run: usize,
    run_len: usize,
    memory: usize,
}

fn ioctl(fd: i32, request: usize, argument: usize) -> Sys {
    sys::sys(libc::SYS_ioctl, &[fd as usize, request, argument])
}

fn address_of<T>(value: &mut T) -> usize {
    std::ptr::from_mut(value) as usize
}

/// Addresses of the guest's program here: its first byte, the one behind its last, and its two places for LSTAR.
fn program() -> [usize; 4] {
    [
        &raw const synthjit_guest_begin,
        &raw const synthjit_guest_end,
        &raw const synthjit_guest_first,
        &raw const synthjit_guest_second,
    ]
    .map(|symbol| symbol as usize)
}

impl Vm {
    /// A machine that leaves to its host once in `rounds` rounds of its program.
    pub fn new(rounds: u64) -> Sys<Vm> {
        let kvm = sys::open("/dev/kvm", libc::O_RDWR | libc::O_CLOEXEC, 0)?;
        let vm = ioctl(kvm, CREATE_VM, 0)? as i32;
        let memory = sys::map(MEMORY, 3, libc::MAP_SHARED)?;
        let mut region = [0u64, 0, MEMORY as u64, memory as u64];
        ioctl(vm, SET_USER_MEMORY_REGION, address_of(&mut region))?;
        let vcpu = ioctl(vm, CREATE_VCPU, 0)? as i32;
        let run_len = ioctl(kvm, VCPU_MMAP_SIZE, 0)?;
        let run = sys::sys(
            libc::SYS_mmap,
            &[0, run_len, 3, libc::MAP_SHARED as usize, vcpu as usize, 0],
        )?;
        let machine = Vm {
            fds: [vcpu, vm, kvm],
            run,
            run_len,
            memory,
        };
        machine.write_memory(rounds);
        machine.set_registers()?;
        Ok(machine)
    }

    fn store(&self, at: usize, value: u64) {
        // SAFETY: `at` is a multiple of 8 within the guest's memory, which only its virtual CPU writes besides, and not now.
        unsafe { std::ptr::write_volatile((self.memory + at) as *mut u64, value) };
    }

    fn load(&self, at: usize) -> u64 {
        // SAFETY: as in `store`; the virtual CPU runs in this thread only.
        unsafe { std::ptr::read_volatile((self.memory + at) as *const u64) }
    }

    fn write_memory(&self, rounds: u64) {
        const PRESENT_WRITABLE: u64 = 3;
        const LARGE: u64 = 0x80;
        self.store(TABLES, (TABLES as u64 + 0x1000) | PRESENT_WRITABLE);
        self.store(TABLES + 0x1000, (TABLES as u64 + 0x2000) | PRESENT_WRITABLE);
        self.store(TABLES + 0x2000, PRESENT_WRITABLE | LARGE);
        let [begin, end, first, second] = program();
        // SAFETY: the program lies in this binary, and is shorter than what lies between CODE and RECORD.
        unsafe {
            std::ptr::copy_nonoverlapping(
                begin as *const u8,
                (self.memory + CODE) as *mut u8,
                end - begin,
            );
        }
        let place = |symbol: usize| (CODE + symbol - begin) as u64;
        let record = [0, place(first), 0, rounds, place(first), place(second)];
        for (i, value) in record.into_iter().enumerate() {
            self.store(RECORD + 8 * i, value);
        }
    }

    fn set_registers(&self) -> Sys {
        let vcpu = self.fds[0];
        let mut cpuid = [0u64; 1 + 5 * 256];
        cpuid[0] = 256;
        ioctl(self.fds[2], GET_SUPPORTED_CPUID, address_of(&mut cpuid))?;
        ioctl(vcpu, SET_CPUID2, address_of(&mut cpuid))?;

        let flat = Segment {
            limit: u32::MAX,
            selector: 16,
            kind: 3,
            present: 1,
            db: 1,
            s: 1,
            g: 1,
            ..Segment::default()
        };
        let mut sregs = Sregs::default();
        ioctl(vcpu, GET_SREGS, address_of(&mut sregs))?;
        sregs.cs = Segment {
            selector: 8,
            kind: 11,
            db: 0,
            l: 1,
            ..flat
        };
        sregs.data = [flat; 5];
        sregs.cr3 = TABLES as u64;
        // PAE; protection and paging; SYSCALL, long mode on and active.
        sregs.cr4 = 1 << 5;
        sregs.cr0 = 1 << 31 | 1;
        sregs.efer = 1 << 10 | 1 << 8 | 1;
        ioctl(vcpu, SET_SREGS, address_of(&mut sregs))?;

        // STAR: the selectors that SYSCALL loads.
        let mut msrs = Msrs {
            count: 2,
            pad: 0,
            entries: [[0xc000_0081, 8 << 32], [0xc000_0082, self.load(RECORD + 8)]],
        };
        if ioctl(vcpu, SET_MSRS, address_of(&mut msrs))? != 2 {
            return Err(Errno::EIO);
        }
        let mut regs = Regs {
            rax_rbx: [0, RECORD as u64],
            rip: CODE as u64,
            rflags: 2,
            ..Regs::default()
        };
        ioctl(vcpu, SET_REGS, address_of(&mut regs))
    }

    /// Lets the guest run until it leaves: how often it has, and how often it has found something wrong.
    ///
    /// # Errors
    ///
    /// Why it left if not of its own will: a triple fault for example.
    pub fn enter(&self) -> Result<(u64, u64), String> {
        loop {
            match ioctl(self.fds[0], RUN, 0) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(format!("KVM_RUN: {error}")),
            }
        }
        // SAFETY: the page that the kernel has mapped for this virtual CPU.
        let reason = unsafe { std::ptr::read_volatile((self.run + EXIT_REASON) as *const u32) };
        if reason != EXIT_IO {
            return Err(format!("the guest left for the reason {reason}"));
        }
        Ok((self.load(RECORD), self.load(RECORD + 16)))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = sys::unmap(self.run, self.run_len);
        for fd in self.fds {
            let _ = sys::close(fd);
        }
        let _ = sys::unmap(self.memory, MEMORY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        // The sizes are bits 16 to 29 of the ioctls' numbers.
        assert_eq!(std::mem::size_of::<Sregs>(), SET_SREGS >> 16 & 0x3fff);
        assert_eq!(std::mem::size_of::<Regs>(), SET_REGS >> 16 & 0x3fff);
        assert_eq!(
            std::mem::size_of::<[u64; 4]>(),
            SET_USER_MEMORY_REGION >> 16 & 0x3fff
        );
    }

    #[test]
    fn the_program_fits() {
        let [begin, end, first, second] = program();
        assert!(begin < first && first < second && second < end);
        assert!(end - begin < RECORD - CODE);
    }
}
