//! Deciding, before a byte of weights is read, which tensors become 4-bit, in which type the rest
//! stays, and why.
//!
//! [`Plan::new`] looks the architecture up (`architecture`, `table`; `generic` where the table lacks
//! it), asks each version's rules about each tensor (`decide`, `autoskip`, `heads`), intersects them
//! for a portable plan and writes a skip list that every reader reads alike (`explicit`, `matchers`).

mod architecture;
mod autoskip;
mod build;
mod decide;
mod devices;
mod draft;
mod exclude;
mod explain;
mod explicit;
mod fused;
mod generic;
mod heads;
mod json;
mod matchers;
mod names;
mod notes;
mod options;
mod reason;
mod sizes;
mod stored;
mod table;
mod types;

pub(crate) use architecture::Architecture;
pub use explain::{Explanation, Opinion};
pub use generic::{Hints, Kind};
pub use matchers::{PatternSet, Reader};
pub(crate) use names::natural_order;
pub use options::{Experts, PlanOptions};
pub use table::conv1d_modules;
pub use types::{Action, Mode, Plan, PlanEntry, PlanTotals, Profile, SourceTensor};
