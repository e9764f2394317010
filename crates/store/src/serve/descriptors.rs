//! The file descriptors of this process. Each connection needs one.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// How many are left to the backend, files and the listener. If there are fewer than twice as many, these get half.
const KEPT: u64 = 128;

/// Raises this process's limit of open files as far as possible. The result is how many of `most` connections fit.
pub(super) fn for_connections(most: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit = raised,
        Err(why) => debug!(%why, "the limit of open files stays as it is"),
    }
    let fits = fitting(most, limit.current);
    if fits < most {
        warn!(
            connections = fits,
            "the limit of open files allows no more connections; raise it (ulimit -n, LimitNOFILE), or lower \
             --max-connections"
        );
    }
    fits
}

/// How many of `most` connections fit a limit of open files. `None` means that there is no limit.
fn fitting(most: usize, limit: Option<u64>) -> usize {
    let fits = limit.map_or(u64::MAX, |limit| limit.saturating_sub(KEPT.min(limit / 2)));
    most.min(usize::try_from(fits).unwrap_or(usize::MAX)).max(1)
}

#[test]
fn as_many_fit_as_leave_files_for_the_rest() {
    let limits = [None, Some(100_000), Some(1_024), Some(200), Some(64), Some(1), Some(0)];
    assert_eq!(limits.map(|limit| fitting(4_096, limit)), [4_096, 4_096, 896, 100, 32, 1, 1]);
}
