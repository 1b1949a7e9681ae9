//! Measuring: what the machine's memory allows, and how long an operation takes.

mod arena;
mod roofline;
mod timing;

pub use arena::Arena;
pub use roofline::{Roofline, copy, read, write};
pub use timing::{Timing, measure, measure_in_turn};
