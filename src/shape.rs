//! Shapes of up to eight dimensions whose element count fits in 63 bits.

use crate::error::{Result, err};

/// The largest rank taken anywhere in the library.
pub const MAX_RANK: usize = 8;

/// A shape of rank 0 to 8. Its element count is known to fit in an `i64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [u64; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// Checks rank and element count. Any dimension may be zero.
    pub fn new(dims: &[u64]) -> Result<Self> {
        if dims.len() > MAX_RANK {
            return Err(err!(InvalidArgument, "rank {}: at most {MAX_RANK} dimensions", dims.len()));
        }
        // A zero dimension must not hide an overflow of the others: readers multiply in any order.
        let product = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d.max(1)));
        if product.is_none_or(|n| n > i64::MAX as u64) {
            return Err(err!(InvalidArgument, "shape {dims:?}: element count does not fit in 63 bits"));
        }
        let mut all = [0; MAX_RANK];
        all[..dims.len()].copy_from_slice(dims);
        Ok(Shape { dims: all, rank: dims.len() as u8 })
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..self.rank as usize]
    }

    /// Number of elements (1 for rank 0).
    pub fn numel(&self) -> u64 {
        self.dims().iter().product()
    }

    /// `[rows, columns]` of a rank-2 shape.
    pub fn matrix(&self) -> Option<(u64, u64)> {
        match *self.dims() {
            [rows, columns] => Some((rows, columns)),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_limits() {
        assert_eq!(Shape::new(&[]).unwrap().numel(), 1);
        assert_eq!(Shape::new(&[3, 0, 5]).unwrap().numel(), 0);
        assert_eq!(Shape::new(&[1 << 31, 1 << 31]).unwrap().numel(), 1 << 62);
        assert!(Shape::new(&[1 << 32, 1 << 31]).is_err());
        assert!(Shape::new(&[0, 1 << 40, 1 << 40]).is_err(), "a zero must not hide an overflow");
        assert!(Shape::new(&[1; 9]).is_err());
    }
}
