//! A program of the BPF LSM that denies this process its writes: in force when attaching it returns, also for a process that nobody
//! else gets the CPU from.

use super::fast_again;
use crate::sys;
use crate::tests::support::lab::{Lab, Res, Stop};
use crate::{area, ensure, same, skip};
use nix::errno::Errno;

area!("unseen": bpf_program_denies = 120, bpf_program_denies_a_realtime_process = 120);

/// `BPF_PROG_LOAD`, `BPF_RAW_TRACEPOINT_OPEN` of `enum bpf_cmd` (include/uapi/linux/bpf.h).
const PROG_LOAD: usize = 5;
const RAW_TRACEPOINT_OPEN: usize = 17;

/// The number of a function's type in the kernel's BTF (Documentation/bpf/btf.rst).
fn type_of(function: &str) -> Option<u32> {
    let data = sys::read_file("/sys/kernel/btf/vmlinux").ok()?;
    let word = |at: usize| Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let head = word(4)? as usize;
    let (types, len, strings) = (word(8)? as usize, word(12)? as usize, word(16)? as usize);
    let (mut at, end, strings) = (head + types, head + types + len, head + strings);
    let mut id = 1;
    while at < end {
        let (name, info) = (word(at)? as usize, word(at + 4)?);
        let (kind, members) = (info >> 24 & 31, (info & 0xffff) as usize);
        let text = data.get(strings + name..)?;
        if kind == 12
            && text.starts_with(function.as_bytes())
            && text.get(function.len()) == Some(&0)
        {
            return Some(id);
        }
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * members,
                6 | 13 => 8 * members,
                _ => 0,
            };
        id += 1;
    }
    None
}

fn bpf(command: usize, attributes: &[u8]) -> sys::Sys<i32> {
    let args = [command, attributes.as_ptr() as usize, attributes.len()];
    sys::sys(libc::SYS_bpf, &args).map(|fd| fd as i32)
}

/// Loads a program that answers `-EPERM` to this process and 0 to all others.
fn load() -> Res<i32> {
    let Some(hook) = type_of("bpf_lsm_file_permission") else {
        skip!("no BPF LSM");
    };
    // r0 = bpf_get_current_pid_tgid() >> 32; if (r0 != me) return 0; return -1
    let me = sys::getpid().to_le_bytes();
    let program: [[u8; 8]; 7] = [
        [0x85, 0, 0, 0, 14, 0, 0, 0],
        [0x77, 0, 0, 0, 32, 0, 0, 0],
        [0x15, 0, 2, 0, me[0], me[1], me[2], me[3]],
        [0xb7, 0, 0, 0, 0, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
        [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ];
    let license = c"GPL";
    let mut a = [0u8; 112];
    let mut put = |at: usize, bytes: &[u8]| a[at..at + bytes.len()].copy_from_slice(bytes);
    // prog_type = BPF_PROG_TYPE_LSM, insn_cnt, insns, license, expected_attach_type = BPF_LSM_MAC, attach_btf_id
    put(0, &29u32.to_le_bytes());
    put(4, &(program.len() as u32).to_le_bytes());
    put(8, &(program.as_ptr() as u64).to_le_bytes());
    put(16, &(license.as_ptr() as u64).to_le_bytes());
    put(68, &27u32.to_le_bytes());
    put(108, &hook.to_le_bytes());
    match bpf(PROG_LOAD, &a) {
        Ok(program) => Ok(program),
        Err(Errno::EINVAL | Errno::EPERM | Errno::ENOSYS) => {
            skip!("no programs of the BPF LSM here")
        }
        Err(e) => Err(Stop::Fail(format!("BPF_PROG_LOAD: {e}"))),
    }
}

fn attach(program: i32) -> Res<i32> {
    let mut a = [0u8; 16];
    a[8..12].copy_from_slice(&program.to_le_bytes());
    bpf(RAW_TRACEPOINT_OPEN, &a).map_err(|e| Stop::Fail(format!("BPF_RAW_TRACEPOINT_OPEN: {e}")))
}

fn denied(lab: &Lab, policy: i32, priority: i32) -> Res {
    let program = load()?;
    let rig = lab.rig()?;
    let set = |policy: i32, priority: i32| -> Res {
        let parameters = libc::sched_param {
            sched_priority: priority,
        };
        // SAFETY: This process, and parameters of ours.
        let ret = unsafe { libc::sched_setscheduler(0, policy, &parameters) };
        same!(ret, 0, "sched_setscheduler");
        Ok(())
    };
    for round in 0..5 {
        fast_again(lab, &rig.p)?;
        set(policy, priority)?;
        let link = attach(program)?;
        let results: Vec<_> = (0..20).map(|_| sys::write(rig.p.w, b"x")).collect();
        set(libc::SCHED_OTHER, 0)?;
        sys::close(link)?;
        ensure!(
            results.iter().all(|r| *r == Err(Errno::EPERM)),
            "round {round}: writes that were to be denied: {results:?}"
        );
    }
    sys::close(program)?;
    fast_again(lab, &rig.p)
}

fn bpf_program_denies(lab: &Lab) -> Res {
    denied(lab, libc::SCHED_OTHER, 0)
}

fn bpf_program_denies_a_realtime_process(lab: &Lab) -> Res {
    denied(lab, libc::SCHED_FIFO, 50)
}
