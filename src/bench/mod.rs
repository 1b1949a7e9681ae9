//! Measuring: what the machine allows, and how near to it each operation comes.

mod arena;
mod bandwidth;
mod cases;
mod figure;
pub mod machine;
mod operands;
mod peak;
mod report;
mod roofline;
mod suite;
mod timing;

pub use arena::{Sink, Source};
pub use figure::{Figure, Operation};
pub use report::{HEADER, Report, markdown, row};
pub use roofline::Roofline;
pub use suite::{Scope, Selection, run};
pub use timing::{Effort, Timing, measure};
