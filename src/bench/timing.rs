//! Repeated timing.

use std::time::{Duration, Instant};

use super::machine::{Busy, QUIET, wait_until_quiet};

/// How much time to spend on a figure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Repeat an operation until this is spent.
    pub budget: Duration,
    /// How often to start over when others disturbed a figure.
    pub attempts: u32,
    /// How long to wait, before each attempt, until others leave the machine alone.
    pub patience: Duration,
    /// Leave out an operation that is expected to take longer than this.
    pub longest: Duration,
}

/// The times of one operation, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The middle one; what is reported.
    pub median: f64,
    /// The smallest.
    pub fastest: f64,
    /// How many were taken.
    pub count: usize,
    /// The share of all processors that others used meanwhile, where it can be told.
    pub busy: Option<f64>,
}

impl Timing {
    /// The times of one of `calls` calls that were timed together.
    pub fn per_call(self, calls: usize) -> Self {
        let calls = calls as f64;
        Timing { median: self.median / calls, fastest: self.fastest / calls, ..self }
    }
}

/// Times `operation`. Of several attempts the one that others disturbed least counts.
pub fn measure(effort: &Effort, mut operation: impl FnMut()) -> Timing {
    let mut best = attempt(effort, &mut operation);
    for _ in 1..effort.attempts {
        if best.busy.is_none_or(|share| share < QUIET) {
            break;
        }
        let next = attempt(effort, &mut operation);
        if next.busy < best.busy {
            best = next;
        }
    }
    best
}

/// One untimed call, then at least five, or three if they alone exceed the budget.
fn attempt(effort: &Effort, operation: &mut impl FnMut()) -> Timing {
    wait_until_quiet(effort.patience);
    operation();
    let mut times = Vec::new();
    let others = Busy::since_now();
    let start = Instant::now();
    while times.len() < 3
        || (times.len() < 5 && start.elapsed() < 3 * effort.budget)
        || start.elapsed() < effort.budget
    {
        let begin = Instant::now();
        operation();
        times.push(begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Timing {
        median: times[times.len() / 2],
        fastest: times[0],
        count: times.len(),
        busy: others.and_then(|o| o.others()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_what_it_is_given() {
        let ms = Duration::from_millis;
        let effort = Effort { budget: ms(20), attempts: 2, patience: ms(0), longest: ms(100) };
        let mut calls = 0;
        let timing = measure(&effort, || {
            calls += 1;
            std::thread::sleep(ms(2));
        });
        assert!(timing.fastest >= 0.002 && timing.median >= timing.fastest);
        assert!(timing.count >= 3 && calls > timing.count);
    }
}
