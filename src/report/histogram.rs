//! Counts of values over many orders of magnitude, in one pass.

use std::collections::BTreeMap;

/// Bins per octave.
const PER_OCTAVE: f64 = 4.0;

/// How many absmax values lie in each quarter of an octave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    bins: BTreeMap<i32, u64>,
    /// Values that are zero, or below.
    pub zeros: u64,
    /// NaN and infinities.
    pub not_finite: u64,
}

/// One bin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bin {
    /// Lower end.
    pub from: f64,
    /// Upper end.
    pub to: f64,
    /// Values from `from` on, below `to`.
    pub count: u64,
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: f32) {
        match value {
            v if !v.is_finite() => self.not_finite += 1,
            v if v <= 0.0 => self.zeros += 1,
            v => *self.bins.entry((f64::from(v).log2() * PER_OCTAVE).floor() as i32).or_default() += 1,
        }
    }

    /// Values in bins.
    pub fn counted(&self) -> u64 {
        self.bins.values().sum()
    }

    /// Bins from the first to the last that has values, neighbours joined until there are at most
    /// `most`.
    pub fn bins(&self, most: usize) -> Vec<Bin> {
        let (Some((&first, _)), Some((&last, _))) = (self.bins.first_key_value(), self.bins.last_key_value())
        else {
            return Vec::new();
        };
        let mut width = 1;
        while (last.div_euclid(width) - first.div_euclid(width)) as usize >= most {
            width *= 2;
        }
        let end = |i: i32| (f64::from(i * width) / PER_OCTAVE).exp2();
        let (first, last) = (first.div_euclid(width), last.div_euclid(width));
        let bin = |i| Bin { from: end(i), to: end(i + 1), count: self.count(i * width, (i + 1) * width) };
        (first..=last).map(bin).collect()
    }

    fn count(&self, from: i32, to: i32) -> u64 {
        self.bins.range(from..to).map(|(_, n)| n).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_bins() {
        let mut h = Histogram::default();
        [1.0, 1.1, 2.0, 0.0, -1.0, f32::NAN, f32::INFINITY].into_iter().for_each(|v| h.add(v));
        assert_eq!((h.zeros, h.not_finite, h.counted()), (2, 2, 3));
        let bins = h.bins(100);
        assert_eq!(bins.iter().map(|b| b.count).collect::<Vec<_>>(), [2, 0, 0, 0, 1]);
        assert_eq!((bins[0].from, bins[4].from), (1.0, 2.0));
        assert_eq!(h.bins(2).iter().map(|b| b.count).sum::<u64>(), 3);
        [f32::MIN_POSITIVE, f32::from_bits(1), f32::MAX].into_iter().for_each(|v| h.add(v));
        assert!(h.bins(40).len() <= 40);
        assert_eq!(h.bins(40).iter().map(|b| b.count).sum::<u64>(), 6);
        assert!(Histogram::default().bins(40).is_empty());
    }
}
