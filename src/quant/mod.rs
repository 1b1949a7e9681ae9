//! Operations on weights: spec and views in, a backend's job out.

mod geometry;
mod spec;

pub use geometry::Geometry;
pub use spec::{BlockSize, NESTED_BLOCK_SIZE, QuantSpec, Storage};
