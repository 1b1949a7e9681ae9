//! What the measurements ran on, and how much of it others used meanwhile.

use std::fs;
use std::time::{Duration, Instant};

/// Share of all processors used by others above which a figure is worth little.
pub const QUIET: f64 = 0.1;

/// The processor's name, as the operating system tells it.
pub fn cpu_name() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Bytes of the last-level cache, where the operating system tells.
pub fn cache_bytes() -> Option<usize> {
    let sizes = (0..=4).filter_map(|i| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{i}/size");
        fs::read_to_string(path).ok()?.trim().strip_suffix('K')?.parse::<usize>().ok()
    });
    sizes.max().map(|kib| kib << 10)
}

/// Bytes of memory that can be had without swapping, where the operating system tells.
pub fn available_bytes() -> Option<usize> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok().map(|kib| kib << 10)
}

/// Bytes to rotate operands through, so that each is cold when its turn comes: four times the
/// last-level cache, at least 1.5 GB, at most a sixth of the memory that is free.
pub fn rotation_bytes() -> usize {
    let wanted = (4 * cache_bytes().unwrap_or(0)).max(1536 << 20);
    wanted.min(available_bytes().map_or(wanted, |bytes| bytes / 6))
}

/// A point in time from which the use of the machine by others is counted.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    busy: u64,
    all: u64,
    own: f64,
}

impl Busy {
    /// From now on. `None` where the operating system does not tell.
    pub fn since_now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        // user nice system idle iowait irq softirq steal; guests are part of user.
        let ticks: Vec<u64> =
            stat.lines().next()?.split_whitespace().skip(1).take(8).filter_map(|t| t.parse().ok()).collect();
        let all: u64 = ticks.iter().sum();
        let idle = ticks.get(3)? + ticks.get(4)?;
        Some(Busy { busy: all - idle, all, own: own_seconds()? })
    }

    /// The share of all processors that others used since then, 0 to 1.
    pub fn others(&self) -> Option<f64> {
        let now = Self::since_now()?;
        let hz = ticks_per_second()?;
        let all = (now.all - self.all) as f64 / hz;
        let others = (now.busy - self.busy) as f64 / hz - (now.own - self.own);
        (all > 0.0).then(|| (others / all).clamp(0.0, 1.0))
    }
}

#[cfg(unix)]
fn own_seconds() -> Option<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    (status == 0).then_some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

#[cfg(not(unix))]
fn own_seconds() -> Option<f64> {
    None
}

#[cfg(unix)]
fn ticks_per_second() -> Option<f64> {
    // SAFETY: takes a number, returns a number.
    let hz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    (hz > 0).then_some(hz as f64)
}

#[cfg(not(unix))]
fn ticks_per_second() -> Option<f64> {
    None
}

/// Waits until others leave the machine alone for half a second, or until `patience` is over.
pub fn wait_until_quiet(patience: Duration) {
    let start = Instant::now();
    while start.elapsed() < patience {
        let Some(before) = Busy::since_now() else { return };
        std::thread::sleep(Duration::from_millis(500));
        if before.others().is_none_or(|share| share < QUIET / 2.0) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_others_is_a_share() {
        let Some(before) = Busy::since_now() else { return };
        std::thread::sleep(Duration::from_millis(50));
        assert!(before.others().is_none_or(|share| (0.0..=1.0).contains(&share)));
    }

    #[test]
    fn the_rotation_leaves_most_memory_alone() {
        let bytes = rotation_bytes();
        assert!(bytes > 0 && available_bytes().is_none_or(|free| bytes <= free / 5));
    }
}
