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

impl Timing {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Timing { median: times[times.len() / 2], fastest: times[0], count: times.len() }
    }
}

/// Times `operation` after one untimed call, at least five times and until `budget` is spent.
pub fn measure(budget: Duration, mut operation: impl FnMut()) -> Timing {
    measure_in_turn(budget, &mut [&mut operation])[0]
}

/// Times several operations in turn, so that a machine that is busy for a while is busy for all of
/// them: what counts is how they compare. Each gets at least five rounds.
pub fn measure_in_turn(budget: Duration, operations: &mut [&mut dyn FnMut()]) -> Vec<Timing> {
    operations.iter_mut().for_each(|operation| operation());
    let mut times = vec![Vec::new(); operations.len()];
    let start = Instant::now();
    while times[0].len() < 5 || start.elapsed() < budget {
        for (operation, times) in operations.iter_mut().zip(&mut times) {
            let begin = Instant::now();
            operation();
            times.push(begin.elapsed().as_secs_f64());
        }
    }
    times.into_iter().map(Timing::of).collect()
}
