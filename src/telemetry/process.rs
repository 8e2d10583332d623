//! What this process takes of the machine, as Linux says.

use std::fs;

/// Clock ticks a second that Linux counts CPU time in for programs, on every platform (the kernel's USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// What the process takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    /// CPU time used so far.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
}

impl Process {
    /// As it is now; `None` where there is no `/proc`.
    pub fn look() -> Option<Self> {
        Some(Process {
            cpu_seconds: cpu_seconds(&fs::read_to_string("/proc/self/stat").ok()?)?,
            resident_bytes: resident_bytes(&fs::read_to_string("/proc/self/status").ok()?)?,
        })
    }
}

/// Reads /proc/pid/stat (proc(5)): utime is the 14th field, stime the 15th. The second, the program's name,
/// may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_ascii_whitespace().skip(14 - 3);
    let mut ticks = || times.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / TICKS_PER_SECOND)
}

/// Reads /proc/pid/status, where sizes do not depend on that of a page.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "7 (a ) b) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 99 1000000 2048";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(
            resident_bytes("Name:\ta\nVmRSS:\t    7012 kB\nThreads:\t3\n"),
            Some(7012 * 1024)
        );
    }

    #[test]
    fn this_process_is_there() {
        assert!(Process::look().unwrap().resident_bytes > 0);
    }
}
