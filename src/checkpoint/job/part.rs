//! Which part of a checkpoint's files one of several runs writes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::checkpoint::limits::MAX_SHARDS;
use crate::error::{Result, err};

/// One of `count` parts, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    index: usize,
    count: usize,
}

impl Part {
    /// Part `index` of `count`, counted from 1.
    pub fn new(index: usize, count: usize) -> Result<Part> {
        if count == 0 || count > MAX_SHARDS {
            return Err(err!(InvalidArgument, "part {index}/{count}: expected 1 to {MAX_SHARDS} parts"));
        }
        if index == 0 || index > count {
            return Err(err!(
                InvalidArgument,
                "part {index}/{count}: parts are counted from 1: expected 1/{count} to {count}/{count}"
            ));
        }
        Ok(Part { index, count })
    }

    /// Reads `2/8`.
    pub fn parse(text: &str) -> Result<Part> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        let (index, count) =
            numbers.ok_or_else(|| err!(InvalidArgument, "part \"{text}\": expected i/n, such as 2/8"))?;
        Part::new(index, count)
    }

    /// The first part also writes the files that go beside the weights.
    pub fn is_first(self) -> bool {
        self.index == 1
    }

    /// For each file of the given size, whether it is this part's. The largest file goes first, each
    /// to the part that has least so far: parts differ by no more than one file. Every file is
    /// exactly one part's; with more parts than files some have none.
    pub fn files(self, sizes: &[u64]) -> Vec<bool> {
        let mut by_size: Vec<usize> = (0..sizes.len()).collect();
        by_size.sort_by_key(|&file| Reverse(sizes[file]));
        let mut loads: BinaryHeap<Reverse<(u64, usize)>> =
            (1..=self.count).map(|p| Reverse((0, p))).collect();
        let mut ours = vec![false; sizes.len()];
        for file in by_size {
            if let Some(mut least) = loads.peek_mut() {
                ours[file] = least.0.1 == self.index;
                // A file without bytes is work too.
                least.0.0 += sizes[file].max(1);
            }
        }
        ours
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_one_part_and_parts_are_balanced() {
        let sizes: Vec<u64> = (0..37).map(|i| 1000 + i * i * 7 % 977).collect();
        let largest = *sizes.iter().max().unwrap();
        for count in [1, 2, 3, 8, 37, 50] {
            let mut owners = vec![0; sizes.len()];
            let mut loads = Vec::new();
            for index in 1..=count {
                let ours = Part::new(index, count).unwrap().files(&sizes);
                ours.iter().zip(&mut owners).for_each(|(&o, n)| *n += u32::from(o));
                loads.push(sizes.iter().zip(&ours).map(|(s, &o)| s * u64::from(o)).sum::<u64>());
            }
            assert!(owners.iter().all(|&n| n == 1), "{count}: {owners:?}");
            let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
            assert!(most - least <= largest, "{count}: {loads:?}");
        }
        assert!(Part::new(1, 3).unwrap().files(&[5])[0], "a single file is the first part's");
    }

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!(Part::parse("2/8").unwrap(), Part::new(2, 8).unwrap());
        for bad in ["0/8", "9/8", "1/0", "1", "a/b", "1/2/3", "-1/2", "", "1/99999999999999999999"] {
            let error = Part::parse(bad).unwrap_err().to_string();
            assert!(error.contains("part") && error.contains("expected"), "{error}");
        }
    }
}
