//! Measuring: what the machine's memory allows, and how long an operation takes.

mod arena;
mod roofline;
mod timing;

pub use arena::Arena;
pub use roofline::Roofline;
pub use timing::{Timing, measure};
