//! Operations on weights: spec and views in, a backend's job out.

mod absmax;
mod dequantize;
mod double;
mod gemm;
mod geometry;
mod mean;
mod measure;
mod quantize;
mod spec;

pub use absmax::absmax_values;
pub use dequantize::dequantize;
pub use double::{DoubleQuantized, double_quantize};
pub use gemm::{GemmOptions, gemm, grouped_gemm};
pub use geometry::Geometry;
pub use mean::torch_mean;
pub use measure::{QuantError, measure};
pub use quantize::quantize;
pub(crate) use quantize::{assemble, check_storage};
pub use spec::{BlockSize, NESTED_BLOCK_SIZE, QuantSpec, Storage};
