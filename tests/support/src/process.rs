//! Child processes that do not outlive their owner.
//!
//! A child ends in one of three ways: its [`Process`] is dropped (also by a panic), this process exits, or this process is
//! killed. In the last case the kernel sends the child a signal when the *thread* that started it dies, so one thread that
//! lives as long as the process starts all children.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{LazyLock, mpsc};

use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};

/// A running child, killed with its process group when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` in a process group of its own, so that the owner handles a terminal's Ctrl-C.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> io::Result<Self> {
        command.process_group(0);
        // SAFETY: the closure runs between fork and exec and makes one async-signal-safe system call.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let (answer, started) = mpsc::channel();
        KEEPER.send((command, answer)).map_err(io::Error::other)?;
        let child = started.recv().map_err(io::Error::other)??;
        Ok(Self { child })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Until the child has been waited for, its id cannot belong to another process.
        if matches!(self.child.try_wait(), Ok(None)) {
            let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        }
        let _ = self.child.wait();
    }
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

static KEEPER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
    let (order, orders) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, answer) in orders {
            let _ = answer.send(command.spawn());
        }
    });
    order
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;
    use std::time::Duration;

    fn sleeper() -> Process {
        let mut command = Command::new("sleep");
        command.arg("600");
        Process::start(command).unwrap()
    }

    fn is_there(id: u32) -> bool {
        std::fs::exists(format!("/proc/{id}")).unwrap()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = sleeper();
        let id = process.id();
        assert!(is_there(id));
        drop(process);
        assert!(!is_there(id));
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let mut process = std::thread::spawn(sleeper).join().unwrap();
        assert!(process.ended().unwrap().is_none());
    }

    #[test]
    fn a_panic_ends_what_it_owned() {
        let (tell, id) = mpsc::channel();
        let panicked = std::thread::spawn(move || {
            let process = sleeper();
            tell.send(process.id()).unwrap();
            panic!("on purpose");
        })
        .join();
        assert!(panicked.is_err());
        assert!(!is_there(id.recv().unwrap()));
    }

    #[test]
    fn a_process_that_ended_says_how() {
        let mut process = Process::start(Command::new("false")).unwrap();
        let status = wait::until("false to end", Duration::from_secs(5), || process.ended().unwrap());
        assert_eq!(status.unwrap().code(), Some(1));
    }
}
