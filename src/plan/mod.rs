//! Deciding, before a byte of weights is read, which tensors become 4-bit, in which type the rest
//! stays, and why.

mod types;

pub use types::{Action, Mode, Plan, PlanEntry, PlanTotals, Profile, SourceTensor};
