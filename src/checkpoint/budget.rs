//! How many tasks may run and how much they may hold, so that working memory stays within a limit.

use super::buffers::BufferSizes;
use super::header::quoted;
use crate::error::{Result, err};

/// A division of the memory that quantizing works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Tasks at a time.
    pub tasks: usize,
    /// Bytes that weights in flight may hold.
    pub held: u64,
}

impl Budget {
    /// Of `memory` bytes, the weight that holds most comes first, then as many tasks as there are
    /// threads, and what is left goes to further weights. `None` is no limit.
    pub fn new(
        memory: Option<u64>,
        threads: usize,
        task: BufferSizes,
        largest: (&str, u64),
    ) -> Result<Budget> {
        let Some(memory) = memory else { return Ok(Budget { tasks: usize::MAX, held: u64::MAX }) };
        let (name, held) = largest;
        let per_task = task.total().max(1);
        let least = held.saturating_add(per_task);
        if memory < least {
            return Err(err!(
                InvalidArgument,
                "memory {memory}: expected at least {least} bytes: {held} for the absmax values of tensor {} \
                 and {per_task} for one task",
                quoted(name)
            ));
        }
        let tasks = ((memory - held) / per_task).min(threads as u64).max(1);
        Ok(Budget { tasks: tasks as usize, held: memory - tasks * per_task })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_divided_and_never_exceeded() {
        let task = BufferSizes { values: 70, codes: 30, ..BufferSizes::default() };
        let divide = |memory| Budget::new(Some(memory), 4, task, ("w", 1000));
        assert_eq!(divide(1100).unwrap(), Budget { tasks: 1, held: 1000 });
        assert_eq!(divide(1250).unwrap(), Budget { tasks: 2, held: 1050 });
        assert_eq!(divide(9000).unwrap(), Budget { tasks: 4, held: 8600 });
        let error = divide(1099).unwrap_err().to_string();
        assert!(error.contains("at least 1100 bytes") && error.contains("\"w\""), "{error}");
        assert_eq!(Budget::new(None, 4, task, ("w", 1)).unwrap().tasks, usize::MAX);
    }
}
