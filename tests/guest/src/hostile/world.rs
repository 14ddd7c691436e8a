//! What acts act on, and chance.

use crate::sys::{self, Pipe, Sys};

/// A number of a descriptor that acts put other objects on.
pub const SPOT: i32 = 60;
/// Bytes of the buffers.
pub const ROOM: usize = 2 * 4096;

/// Descriptors and memory of the process. Every act leaves pipes empty and flags as they are here.
pub struct World {
    /// Ends do not block.
    pub p: Pipe,
    /// The same.
    pub q: Pipe,
    /// Always full; ends do not block.
    pub full: Pipe,
    /// Its reader is in a set of epoll.
    pub polled: Pipe,
    pub null: i32,
    pub zero: i32,
    pub event: i32,
    pub file: i32,
    pub socket: [i32; 2],
    pub buffer: Vec<u8>,
    /// An address with a page that is there before one that is not.
    pub edge: usize,
    noise: u64,
}

/// Ticks of the clock since boot.
pub fn ticks() -> u64 {
    // SAFETY: every processor has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

impl World {
    pub fn new() -> Sys<World> {
        let full = Pipe::new(libc::O_NONBLOCK)?;
        let mut buffer = vec![0x5a; ROOM];
        while sys::write(full.w, &buffer).is_ok() {}
        let polled = Pipe::new(libc::O_NONBLOCK)?;
        // SAFETY: plain calls; the structure is ours.
        let (event, socket) = unsafe {
            let set = libc::epoll_create1(0);
            let mut wanted = libc::epoll_event {
                events: libc::EPOLLIN as u32,
                u64: 0,
            };
            libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, polled.r, &mut wanted);
            let mut pair = [0; 2];
            libc::socketpair(
                libc::AF_UNIX,
                libc::SOCK_STREAM | libc::SOCK_NONBLOCK,
                0,
                pair.as_mut_ptr(),
            );
            (libc::eventfd(0, libc::EFD_NONBLOCK), pair)
        };
        let edge = sys::map(2 * 4096, 3, libc::MAP_PRIVATE)?;
        sys::unmap(edge + 4096, 4096)?;
        // SAFETY: mapped above.
        unsafe { std::ptr::write_volatile(edge as *mut u8, 1) };
        crate::benchmarks::calls::clock::touch(&mut buffer);
        let world = World {
            p: Pipe::new(libc::O_NONBLOCK)?,
            q: Pipe::new(libc::O_NONBLOCK)?,
            full,
            polled,
            null: sys::open("/dev/null", libc::O_WRONLY, 0)?,
            zero: sys::open("/dev/zero", libc::O_RDONLY, 0)?,
            event,
            file: sys::open("/tmp/hostile", libc::O_RDWR | libc::O_CREAT, 0o600)?,
            socket,
            buffer,
            edge,
            noise: 1,
        };
        sys::write(world.file, b"x")?;
        Ok(world)
    }

    /// `write` of so many bytes, with all 64 bits of the descriptor.
    pub fn write(&self, fd: usize, n: usize) {
        sys::call(
            libc::SYS_write as usize,
            [fd, self.buffer.as_ptr() as usize, n, 0, 0, 0],
        );
    }

    /// `read` of at most so many bytes, likewise.
    pub fn read(&mut self, fd: usize, n: usize) {
        sys::call(
            libc::SYS_read as usize,
            [fd, self.buffer.as_mut_ptr() as usize, n, 0, 0, 0],
        );
    }

    /// So many bytes through a pipe.
    pub fn echo(&mut self, r: i32, w: i32, n: usize) {
        self.write(w as usize, n);
        self.read(r as usize, n);
    }

    /// From now on chance is that of this seed.
    pub fn reseed(&mut self, seed: u64) {
        self.noise = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        (self.noise >> 16) as usize % n.max(1)
    }

    /// Ticks of `step`, on average.
    pub fn cost(&mut self, step: impl Fn(&mut World)) -> u64 {
        for _ in 0..3 {
            step(self);
        }
        let (began, mut times) = (ticks(), 0);
        loop {
            step(self);
            times += 1;
            let all = ticks() - began;
            if all > 4_000_000 {
                return (all / times).max(1);
            }
        }
    }

    /// How often `step` has to be done to take so many ticks.
    pub fn rounds_to(&mut self, window: u64, step: impl Fn(&mut World)) -> u64 {
        let (began, mut rounds) = (ticks(), 0);
        while ticks() - began < window {
            step(self);
            rounds += 1;
        }
        rounds
    }
}
