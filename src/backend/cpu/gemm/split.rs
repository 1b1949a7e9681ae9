//! How output columns are divided among tasks.

/// Some large tasks, which disturb memory streams least, then small ones, so that no thread waits
/// long for the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    pub(super) large: usize,
    pub(super) large_count: usize,
    pub(super) small: usize,
}

impl Split {
    /// Tasks of equal size.
    pub(super) fn even(columns: usize) -> Self {
        Split { large: 0, large_count: 0, small: columns }
    }

    /// How many tasks there are for `width` columns, which the large ones do not exceed.
    pub(super) fn tasks(&self, width: usize) -> usize {
        self.large_count + (width - self.large * self.large_count).div_ceil(self.small)
    }

    /// The first column of a task, and how many.
    pub(super) fn task(&self, index: usize, width: usize) -> (usize, usize) {
        if index < self.large_count {
            return (index * self.large, self.large);
        }
        let first = self.large * self.large_count + (index - self.large_count) * self.small;
        (first, self.small.min(width - first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_every_column_once() {
        for split in [Split::even(5), Split { large: 40, large_count: 2, small: 7 }] {
            for width in [80, 81, 86, 87, 88, 200] {
                let mut next = 0;
                for task in 0..split.tasks(width) {
                    let (first, count) = split.task(task, width);
                    assert_eq!(first, next);
                    assert!(count > 0);
                    next += count;
                }
                assert_eq!(next, width);
            }
        }
    }
}
