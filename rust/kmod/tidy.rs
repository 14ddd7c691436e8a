// SPDX-License-Identifier: GPL-2.0

//! What a worker does a moment after code was emitted or retired.

use crate::engine::syscall::Call;
use crate::glue::{self, Dir};
use crate::state::{Path, CHANGE, STATE};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Retired code is poisoned, and names and directories follow paths. Workqueue context.
///
/// Directories are made here and not where paths are made because they cost more than the
/// paths, and the process should not wait for them.
pub(crate) fn tidy() {
    let _change = CHANGE.lock();
    {
        let mut state = STATE.lock();
        state.code.flush();
        if glue::update_names() {
            glue::tidy_soon();
        }
    }
    while let Some((parent, tgid, fd, call)) = next_without_dir() {
        // Under CHANGE, so the path is still there afterwards.
        let Ok(dir) = parent.path(tgid, fd, call == Call::Read) else {
            pr_warn!("no memory for the directory of {fd}.{}\n", call.name());
            break;
        };
        let mut state = STATE.lock();
        let of_path = |x: &&mut Path| x.fd == fd && x.call == call;
        let process = state.processes.iter_mut().find(|p| p.tgid == tgid);
        if let Some(path) = process.and_then(|p| p.paths.iter_mut().find(of_path)) {
            path.dir = Some(dir);
        }
    }
    // What a path that was recompiled has use for was taken over above.
    glue::remove_dirs_now();
}

fn next_without_dir() -> Option<(Arc<Dir>, i32, u32, Call)> {
    let state = STATE.lock();
    let found = state.processes.iter().find_map(|p| {
        let path = p.paths.iter().find(|x| x.dir.is_none())?;
        Some((p.dir.clone()?, p.tgid, path.fd, path.call))
    });
    found
}
