//! Repeated timing.

use std::time::{Duration, Instant};

/// The times of one operation, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The middle one; what is reported.
    pub median: f64,
    /// The smallest.
    pub fastest: f64,
    /// How many were taken.
    pub count: usize,
}

/// Times `operation` after one untimed call, at least five times and until `budget` is spent.
pub fn measure(budget: Duration, mut operation: impl FnMut()) -> Timing {
    operation();
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed() < budget {
        let begin = Instant::now();
        operation();
        times.push(begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Timing { median: times[times.len() / 2], fastest: times[0], count: times.len() }
}
