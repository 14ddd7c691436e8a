//! Every file of the module, as long as it can get, read in pieces of every awkward size: the same text each time, and nothing in
//! the kernel's log about it.

use super::rights::walk;
use crate::proc::{nap, poll_until, state, Board, Ended, Kid};
use crate::sys;
use crate::sysfs::{self, Call, LISTINGS};
use crate::tests::support::epoll::epoll_on;
use crate::tests::support::lab::{echo, needs_module, Lab, Res, Stop};
use crate::{area, ensure, same, skip};
use nix::errno::Errno;
use std::path::Path;
use std::time::Duration;

area!("lengths":
    every_file_in_pieces = 300, listings_from_anywhere = 120, who_goes_hides_no_other = 120, an_open_listing_keeps_the_module,
    without_debugfs,
);

const SOON: Duration = Duration::from_secs(60);
/// Processes that are attached meanwhile.
const CROWD: usize = 8;
/// Descriptors without a path of each.
const PLAIN: usize = 60;
/// Processes that end before: as many as are remembered, and one more.
const ENDS: usize = 33;
/// What files are read in pieces of: those of sysfs are made in a buffer of a page.
const PIECES: [usize; 5] = [1, 2, 4095, 4096, 4097];

/// What the kernel logs from now on.
struct Log(i32);

impl Log {
    fn open() -> Res<Log> {
        let fd = sys::open("/dev/kmsg", libc::O_RDONLY | libc::O_NONBLOCK, 0)?;
        sys::sys(libc::SYS_lseek, &[fd as usize, 0, libc::SEEK_END as usize])?;
        Ok(Log(fd))
    }

    /// Fails if there is a complaint.
    fn is_clean(&self) -> Res {
        let mut record = [0; 8192];
        loop {
            match sys::read(self.0, &mut record) {
                Ok(n) => {
                    let text = String::from_utf8_lossy(record.get(..n).unwrap_or_default());
                    let complaint = ["cut here", "bad count", "BUG"]
                        .iter()
                        .any(|word| text.contains(word));
                    ensure!(!complaint, "the kernel says {text:?}");
                }
                // It was overwritten before it was read.
                Err(Errno::EPIPE) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = sys::close(self.0);
    }
}

/// Has calls of the attached pipe bail out for several reasons.
fn bail_out(r: i32, w: i32) -> Res {
    let mut b = [0; 8];
    sys::set_flag(r, libc::O_NONBLOCK, true)?;
    same!(sys::read(r, &mut b), Err(Errno::EAGAIN), "empty");
    sys::set_flag(r, libc::O_NONBLOCK, false)?;
    same!(sys::write(w, &[]), Ok(0), "write of nothing");
    same!(sys::read_at(r, 0, 0), Ok(0), "read of nothing");
    let kernel = usize::MAX - 4095;
    same!(sys::write_at(w, kernel, 8), Err(Errno::EFAULT), "write");
    same!(sys::write(w, &[1; 8192]), Ok(8192), "a long write");
    let mut page = [0; 8192];
    same!(sys::read(r, &mut page), Ok(8192), "a long read");
    sys::set_flag(w, libc::O_DIRECT, true)?;
    same!(sys::write(w, b"packet"), Ok(6), "write of a packet");
    same!(sys::read(r, &mut b), Ok(6), "read of a packet");
    sys::set_flag(w, libc::O_DIRECT, false)?;
    let ep = epoll_on(r, libc::EPOLLIN as u32)?;
    same!(
        sys::write(w, b"polled"),
        Ok(6),
        "write while somebody polls"
    );
    same!(sys::read(r, &mut b), Ok(6), "read");
    sys::close(ep)?;
    Ok(())
}

/// Attached processes with paths and with descriptors that have none, stopped until this goes: nothing is found out or forgotten.
struct Crowd {
    kids: Vec<Kid>,
    board: &'static Board,
}

impl Crowd {
    fn new(lab: &Lab) -> Res<Crowd> {
        let board = Board::new()?;
        let mut kids = Vec::new();
        for _ in 0..CROWD {
            kids.push(Kid::spawn(|| -> Res {
                let rig = lab.rig()?;
                bail_out(rig.p.r, rig.p.w)?;
                let mut b = [0];
                lab.warm(&rig.p)?;
                let plain = (0..PLAIN)
                    .map(|_| sys::open("/dev/zero", libc::O_RDWR, 0))
                    .collect::<sys::Sys<Vec<i32>>>()?;
                // What has no path is forgotten after a while, and met again.
                for round in 0.. {
                    for fd in &plain {
                        same!(sys::read(*fd, &mut b), Ok(1), "read of /dev/zero");
                        same!(sys::write(*fd, &b), Ok(1), "write to /dev/zero");
                    }
                    // Or the paths would go, since the vector costs more than they save.
                    (0..10u8).try_for_each(|i| echo(rig.p.r, rig.p.w, &[i]))?;
                    if round == 4 {
                        board.add(0, 1);
                    }
                    if board.flag(0) == 1 {
                        break;
                    }
                    nap(1);
                }
                Ok(())
            })?);
        }
        let crowd = Crowd { kids, board };
        let there = poll_until(SOON, || (board.word(0) == CROWD as u64).then_some(()));
        ensure!(
            there.is_some(),
            "{} of {CROWD} are there",
            crowd.board.word(0)
        );
        let stopped = poll_until(SOON, || {
            crowd.signal(libc::SIGSTOP);
            let each = crowd.kids.iter();
            let still = each.filter(|kid| state(kid.pid) == Some('T')).count();
            if still == CROWD && crowd.has_much_without() && crowd.has_directories() {
                return Some(());
            }
            if still == CROWD {
                crowd.signal(libc::SIGCONT);
                nap(20);
            }
            None
        });
        ensure!(
            stopped.is_some(),
            "the crowd cannot be stopped as it should"
        );
        Ok(crowd)
    }

    fn signal(&self, signal: i32) {
        self.kids.iter().for_each(|kid| kid.signal(signal));
    }

    /// More than a page can tell: all of them together in the listing.
    fn has_much_without(&self) -> bool {
        sysfs::listing("without").map_or(!Path::new(LISTINGS).exists(), |text| text.len() > 4097)
    }

    /// Those of both paths of each process, which a worker makes.
    fn has_directories(&self) -> bool {
        let paths = |kid: &Kid| sysfs::list(&format!("processes/{}/fds", kid.pid)).len();
        self.kids.iter().all(|kid| paths(kid) == 2)
    }

    fn finish(mut self) -> Res {
        self.board.raise(0, 1);
        self.signal(libc::SIGCONT);
        for kid in &mut self.kids {
            same!(kid.wait(SOON), Some(Ended::Exit(0)), "one of the crowd");
        }
        Ok(())
    }
}

/// Processes whose calls bailed out and that ended attached.
fn some_end(lab: &Lab) -> Res {
    for _ in 0..ENDS {
        let mut kid = Kid::spawn(|| -> Res {
            let rig = lab.rig()?;
            bail_out(rig.p.r, rig.p.w)?;
            std::mem::forget(rig);
            Ok(())
        })?;
        same!(kid.wait(SOON), Some(Ended::Exit(0)), "a process that ends");
    }
    let gone = poll_until(SOON, || {
        (lab.stat("attached").ok() == Some(0)).then_some(())
    });
    ensure!(gone.is_some(), "{} stay", lab.stat("attached")?);
    Ok(())
}

/// The whole of a file by calls that ask for `size` bytes.
fn in_pieces(file: &str, size: usize) -> sys::Sys<Vec<u8>> {
    let fd = sys::open(&sysfs::path(file), libc::O_RDONLY, 0)?;
    let (mut all, mut piece) = (Vec::new(), vec![0; size]);
    let done = loop {
        match sys::read(fd, &mut piece) {
            Ok(0) => break Ok(all),
            Ok(n) => all.extend_from_slice(piece.get(..n).unwrap_or_default()),
            Err(e) => break Err(e),
        }
    };
    let _ = sys::close(fd);
    done
}

/// A file's bytes, which are the same in pieces of all sizes.
fn same_in_pieces(file: &str) -> Res<Vec<u8>> {
    let mut seen = String::new();
    // A worker may be tidying up.
    for _ in 0..10 {
        let before = in_pieces(file, 65536)?;
        let wrong = PIECES.into_iter().find_map(|size| {
            let text = in_pieces(file, size);
            (text.as_deref() != Ok(&before[..])).then(|| (size, text.map(|t| t.len())))
        });
        let Some(wrong) = wrong else {
            return Ok(before);
        };
        seen = format!("{} bytes, in pieces of {wrong:?}", before.len());
        if in_pieces(file, 65536)? == before {
            break;
        }
        nap(100);
    }
    Err(Stop::Fail(format!("{file}: {seen}")))
}

fn every_file_in_pieces(lab: &Lab) -> Res {
    needs_module(lab)?;
    let log = Log::open()?;
    some_end(lab)?;
    let crowd = Crowd::new(lab)?;
    let mut files = Vec::new();
    walk("", &mut files);
    walk(LISTINGS, &mut files);
    ensure!(files.len() > CROWD * 7, "{} files", files.len());
    let (mut shortest, mut longest) = (Vec::new(), (0, String::new()));
    for file in files {
        if file == "attach" || file == "detach" {
            same!(in_pieces(&file, 1), Err(Errno::EACCES), "{file}");
            continue;
        }
        let bytes = same_in_pieces(&file)?;
        log.is_clean().map_err(|e| match e {
            Stop::Fail(text) => Stop::Fail(format!("{file}, {} bytes: {text}", bytes.len())),
            other => other,
        })?;
        let listing = file.strip_prefix(LISTINGS).map(|f| &f[1..]);
        match listing {
            // They say the same whatever happens.
            Some("assumptions" | "left_out" | "watched") => {}
            Some(_) => shortest.push((bytes.len(), file)),
            None => longest = longest.max((bytes.len(), file)),
        }
    }
    ensure!(longest.0 < 1024, "no single value: {longest:?}");
    // Or it would not have been tested that one can be longer than a page.
    shortest.sort();
    same!(shortest.len(), 4, "listings");
    ensure!(shortest[0].0 > 4097, "too short: {shortest:?}");
    let exited = sysfs::listing("exited")?;
    same!(exited.lines().count(), ENDS - 1, "remembered processes");
    crowd.finish()
}

fn listings_from_anywhere(lab: &Lab) -> Res {
    needs_module(lab)?;
    let crowd = Crowd::new(lab)?;
    let log = Log::open()?;
    for name in sysfs::list(LISTINGS) {
        let file = format!("{LISTINGS}/{name}");
        let all = same_in_pieces(&file)?;
        let fd = sys::open(&file, libc::O_RDONLY, 0)?;
        let step = (all.len() / 50).max(1);
        let places = (0..all.len() + 2).step_by(step).rev();
        for at in places.chain([1, all.len(), 4095, 4096, 4097]) {
            for size in [1, 100, 4096, 70_000] {
                let mut got = vec![0; size];
                let n = sys::pread(fd, &mut got, at)?;
                let want = all.get(at..).unwrap_or_default();
                ensure!(
                    got.get(..n) == want.get(..n) && (n > 0 || want.is_empty()),
                    "{name}: {n} bytes of {size} at {at} of {}",
                    all.len()
                );
            }
        }
        sys::close(fd)?;
    }
    log.is_clean()?;
    crowd.finish()
}

/// Between two reads a process is detached: the others are listed, each as a whole, and none twice.
fn who_goes_hides_no_other(lab: &Lab) -> Res {
    needs_module(lab)?;
    let crowd = Crowd::new(lab)?;
    let mut numbers: Vec<i32> = crowd.kids.iter().map(|k| k.pid).collect();
    numbers.sort_unstable();
    let fd = sys::open(&format!("{LISTINGS}/values"), libc::O_RDONLY, 0)?;
    let mut begin = [0; 10];
    same!(
        sys::read(fd, &mut begin),
        Ok(10),
        "read of the first record"
    );
    for gone in [numbers[0], numbers[3]] {
        sysfs::detach(gone)?;
    }
    let mut text = begin.to_vec();
    let mut piece = [0; 4096];
    loop {
        match sys::read(fd, &mut piece)? {
            0 => break,
            n => text.extend_from_slice(piece.get(..n).unwrap_or_default()),
        }
    }
    sys::close(fd)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut listed: Vec<(i32, usize)> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        ensure!(words.len() == 4, "half a line: {line:?}");
        let pid = words[0].parse().unwrap_or(0);
        match listed.last_mut() {
            Some((last, lines)) if *last == pid => *lines += 1,
            _ => listed.push((pid, 1)),
        }
    }
    // The first had been read before it went.
    numbers.remove(3);
    let order: Vec<i32> = listed.iter().map(|l| l.0).collect();
    same!(order, numbers, "the listed processes");
    let lines = listed[0].1;
    ensure!(
        lines > 50 && listed.iter().all(|l| l.1 == lines),
        "lines of each: {listed:?}"
    );
    crowd.finish()
}

/// A descriptor of a listing is a reference to the module, which takes nothing else from anybody.
fn an_open_listing_keeps_the_module(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let fd = sys::open(&format!("{LISTINGS}/exited"), libc::O_RDONLY, 0)?;
    same!(sys::rmmod(sysfs::MODULE), Err(Errno::EAGAIN), "rmmod");
    lab.fast_again(&rig.p)?;
    sys::close(fd)?;
    // What is closed last is put away a little later.
    let gone = poll_until(SOON, || sys::rmmod(sysfs::MODULE).ok());
    ensure!(gone.is_some(), "{:?}", sys::rmmod(sysfs::MODULE));
    ensure!(
        !Path::new(LISTINGS).exists(),
        "the listings are still there"
    );
    echo(rig.p.r, rig.p.w, b"without the module")?;
    crate::tests::load_if_missing().map_err(Stop::Fail)?;
    ensure!(Path::new(LISTINGS).exists(), "there are no listings again");
    Ok(())
}

/// Where the kernel has no debugfs the module does all but list. For a boot with `debugfs=off`.
fn without_debugfs(lab: &Lab) -> Res {
    needs_module(lab)?;
    let options = sys::read_text("/proc/cmdline")?;
    if !options.split(' ').any(|word| word == "debugfs=off") {
        skip!("this kernel has debugfs");
    }
    ensure!(!Path::new(LISTINGS).exists(), "there are listings");
    for _ in 0..2 {
        let rig = lab.rig()?;
        lab.fast_again(&rig.p)?;
        bail_out(rig.p.r, rig.p.w)?;
        let count = sysfs::fd_file(sys::getpid(), rig.p.r, Call::Read, "bailouts");
        ensure!(sysfs::number(&count)? > 0, "nothing bailed out");
        same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
        crate::tests::load_if_missing().map_err(Stop::Fail)?;
    }
    Ok(())
}
