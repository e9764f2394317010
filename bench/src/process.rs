//! What a process has used, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// CPU time of all threads of a process, in nanoseconds. (`/proc/PID/stat` counts in ticks of 10 ms.)
pub fn cpu_time(id: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task")).with_context(|| format!("process {id}"))? {
        // A thread may end between listing and reading, but no thread of Envoy's that serves requests does.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let on_cpu = text.split_ascii_whitespace().next().context("an empty schedstat")?;
        nanos += on_cpu.parse::<u64>().context("schedstat")?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// A process's resident memory in bytes.
pub fn resident(id: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).with_context(|| format!("process {id}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS")?;
    Ok(kibibytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn work_shows_in_the_cpu_time_and_memory_in_the_resident_set() {
        let id = std::process::id();
        let (before, memory) = (cpu_time(id).unwrap(), resident(id).unwrap());
        let filled = black_box(vec![1_u8; 64 << 20]);
        assert!((0..2_000_000_u64).map(black_box).sum::<u64>() > 0);
        assert!(cpu_time(id).unwrap() > before);
        assert!(resident(id).unwrap() >= memory + filled.len() as u64 / 2);
    }
}
