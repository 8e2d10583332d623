//! What a process takes, from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// Ticks of `/proc/PID/stat` in a second: the kernel's interface has it fixed.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// Its own (`utime`).
    pub user: f64,
    /// The kernel's on its behalf (`stime`).
    pub system: f64,
}

impl Cpu {
    /// Both.
    pub fn total(self) -> f64 {
        self.user + self.system
    }

    /// What was used since an earlier reading.
    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }
}

/// CPU time that a process has used since its start, all its threads together.
pub fn cpu(pid: u32) -> io::Result<Cpu> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in parentheses, with anything in it.
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
    let seconds = |place: usize| -> io::Result<f64> {
        let ticks: Option<f64> = fields.get(place).and_then(|text| text.parse().ok());
        Ok(ticks.ok_or(io::ErrorKind::InvalidData)? / TICKS_PER_SECOND)
    };
    Ok(Cpu {
        user: seconds(11)?,
        system: seconds(12)?,
    })
}

/// The same to the nanosecond, of the threads that it has now. For so little that it would not make
/// one tick.
pub fn fine_cpu(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
        total += nanoseconds.unwrap_or(0u64);
    }
    Ok(Duration::from_nanos(total))
}

/// The same of the calling thread.
pub fn own_cpu() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.unwrap_or(0)))
}

/// The most memory that a process had resident at a time, in bytes (`VmHWM`).
pub fn peak_bytes(pid: u32) -> io::Result<u64> {
    memory(pid, "VmHWM:")
}

/// The memory that a process has resident, in bytes (`VmRSS`).
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: Option<u64> = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse().ok());
    Ok(kib.ok_or(io::ErrorKind::InvalidData)? * 1024)
}
