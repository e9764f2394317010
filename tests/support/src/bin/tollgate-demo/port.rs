//! Which process has a port.

use std::fs;
use std::net::{SocketAddr, TcpListener};

/// Checks that nothing listens on an address. Envoy itself would share it with another Envoy.
///
/// # Errors
/// If something does: names it, and says what to do.
pub fn must_be_free(address: SocketAddr) -> anyhow::Result<()> {
    let Err(error) = TcpListener::bind(address) else { return Ok(()) };
    let port = address.port();
    let by = listener(port).map(|by| format!(" by {by}")).unwrap_or_default();
    anyhow::bail!(
        "port {port} cannot be had: taken{by} ({error}). Stop that, or take another port: PORT=8080 make run"
    )
}

/// The wanted address, or any that is free if another process has it.
///
/// # Errors
/// If this machine has none.
pub fn free(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    if must_be_free(wanted).is_ok() && wanted.port() != 0 {
        return Ok(wanted);
    }
    Ok(TcpListener::bind(SocketAddr::new(wanted.ip(), 0))?.local_addr()?)
}

/// The process that listens on a port: `nginx (pid 17)`. `None` if it belongs to another user.
fn listener(port: u16) -> Option<String> {
    let sockets =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let inodes: Vec<&str> =
        sockets.iter().flat_map(|table| table.lines()).filter_map(|line| listening(line, port)).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let owner = ids.into_iter().find(|id| holds_one(*id, &inodes))?;
    let name = fs::read_to_string(format!("/proc/{owner}/comm")).ok()?;
    Some(format!("{} (pid {owner})", name.trim()))
}

/// The socket's inode, if this line of the kernel's table is a listener (state 0A) on a port.
fn listening(line: &str, port: u16) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
    (state == "0A" && local.ends_with(&format!(":{port:04X}"))).then_some(inode)
}

fn holds_one(process: u32, inodes: &[&str]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|to| inodes.iter().any(|inode| to.to_str() == Some(&format!("socket:[{inode}]"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_who_has_it_and_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let message = must_be_free(taken.local_addr().unwrap()).unwrap_err().to_string();
        let us = format!("(pid {})", std::process::id());
        assert!(message.contains(&us) && message.contains("PORT=8080 make run"), "{message}");
    }

    #[test]
    fn a_port_that_somebody_has_is_replaced_and_a_free_one_is_not() {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let holder = TcpListener::bind(loopback(0)).unwrap();
        let wanted = holder.local_addr().unwrap();
        assert_ne!(free(wanted).unwrap(), wanted);
        drop(holder);
        assert_eq!(free(wanted).unwrap(), wanted);
        assert_ne!(free(loopback(0)).unwrap().port(), 0);
    }

    #[test]
    fn a_free_port_is_free() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        must_be_free(free).unwrap();
    }
}
