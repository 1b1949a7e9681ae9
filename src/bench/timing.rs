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
    /// The median of what was timed in turn with it.
    pub reference: Option<f64>,
    /// The share of all processors that others used meanwhile, where it can be told.
    pub busy: Option<f64>,
}

impl Timing {
    /// The times of one of `calls` calls that were timed together.
    pub fn per_call(self, calls: usize) -> Self {
        let calls = calls as f64;
        let reference = self.reference.map(|seconds| seconds / calls);
        Timing { median: self.median / calls, fastest: self.fastest / calls, reference, ..self }
    }
}

/// Times `operation`. Of several attempts the one that others disturbed least counts.
pub fn measure(effort: &Effort, operation: impl FnMut()) -> Timing {
    measure_in_turn(effort, operation, None)
}

/// Times `operation`, and after each call of it the reference: whatever else the machine is doing
/// then slows down both.
pub fn measure_in_turn(
    effort: &Effort,
    mut operation: impl FnMut(),
    mut reference: Option<&mut dyn FnMut()>,
) -> Timing {
    let mut best = attempt(effort, &mut operation, &mut reference);
    for _ in 1..effort.attempts {
        if best.busy.is_none_or(|share| share < QUIET) {
            break;
        }
        let next = attempt(effort, &mut operation, &mut reference);
        if next.busy < best.busy {
            best = next;
        }
    }
    best
}

/// One untimed call, then at least five, or three if they alone exceed the budget.
fn attempt(
    effort: &Effort,
    operation: &mut impl FnMut(),
    reference: &mut Option<&mut dyn FnMut()>,
) -> Timing {
    wait_until_quiet(effort.patience);
    operation();
    let (mut times, mut references) = (Vec::new(), Vec::new());
    let others = Busy::since_now();
    let start = Instant::now();
    let enough = |count: usize| match start.elapsed() {
        spent if spent < effort.budget => false,
        spent if spent < 3 * effort.budget => count >= 5,
        _ => count >= 3,
    };
    while !enough(times.len()) {
        times.push(seconds(operation));
        if let Some(reference) = reference {
            references.push(seconds(reference));
        }
    }
    times.sort_by(f64::total_cmp);
    references.sort_by(f64::total_cmp);
    Timing {
        median: times[times.len() / 2],
        fastest: times[0],
        count: times.len(),
        reference: references.get(references.len() / 2).copied(),
        busy: others.and_then(|o| o.others()),
    }
}

fn seconds(operation: &mut impl FnMut()) -> f64 {
    let begin = Instant::now();
    operation();
    begin.elapsed().as_secs_f64()
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
