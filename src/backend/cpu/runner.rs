//! Who runs the parallel loops of the kernels: this library's threads, the caller's, or nobody.

use std::ffi::c_void;

use super::pool::{Indices, Pool, Task, inside_task, run_inline};
use crate::error::{Result, err};

/// The largest number of threads that may be asked for.
pub const MAX_THREADS: usize = 1024;

/// The C type of a caller's parallel loop: calls `task(task_data, i)` for every `i < count`, on
/// any threads and in any order, and returns once all calls have returned.
pub type ParallelForFn = unsafe extern "C" fn(
    user: *mut c_void,
    count: usize,
    task: unsafe extern "C" fn(*mut c_void, usize),
    task_data: *mut c_void,
);

/// A caller's parallel loop with its own argument.
#[derive(Clone, Copy, Debug)]
pub struct ParallelFor {
    call: ParallelForFn,
    user: *mut c_void,
}

// SAFETY: `new`'s contract: callable from any thread.
unsafe impl Send for ParallelFor {}
// SAFETY: as above.
unsafe impl Sync for ParallelFor {}

impl ParallelFor {
    /// A loop that is run by `call(user, ..)`.
    ///
    /// # Safety
    /// `call` may be called with `user` from any thread, from several at once, until the backend
    /// that holds it is gone; when it returns, no call of `task` is running or yet to come.
    pub unsafe fn new(call: ParallelForFn, user: *mut c_void) -> Self {
        ParallelFor { call, user }
    }

    fn run(&self, count: usize, task: &Task) {
        let indices = Indices::new(count, task);
        let data = std::ptr::from_ref(&indices).cast_mut().cast();
        // SAFETY: `new`'s contract; `indices` outlives the call.
        unsafe { (self.call)(self.user, count, one_index, data) };
        // Whatever a faulty loop left out.
        indices.work(count);
        indices.finish();
    }
}

/// Runs the next index. The indices are handed out here rather than taken from the caller, so a
/// loop that repeats or drops one cannot spoil the result.
unsafe extern "C" fn one_index(data: *mut c_void, _index: usize) {
    // SAFETY: `data` is the `Indices` of `ParallelFor::run`, alive until the loop returns.
    // A panic of the task is kept inside, none crosses this C frame.
    unsafe { (*data.cast::<Indices<'_>>()).work(1) };
}

/// Runs loops. Tasks see the default floating-point environment on every thread, and a loop that
/// a task starts runs on the task's own thread.
pub struct Runner {
    threads: usize,
    kind: Kind,
}

enum Kind {
    Inline,
    Pool(Pool),
    Caller(ParallelFor),
}

impl Runner {
    /// `threads` threads (0: as many as the process may use) of an own pool, unless the caller
    /// brings a loop; one thread means no pool. With a caller's loop `threads` is only the number
    /// that work is divided for.
    pub fn new(threads: usize, parallel_for: Option<ParallelFor>) -> Result<Self> {
        if threads > MAX_THREADS {
            return Err(err!(InvalidArgument, "threads {threads}: expected 0 to {MAX_THREADS}"));
        }
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS)),
            n => n,
        };
        let kind = match parallel_for {
            Some(parallel_for) => Kind::Caller(parallel_for),
            None if threads == 1 => Kind::Inline,
            None => Kind::Pool(Pool::new(threads)?),
        };
        Ok(Runner { threads, kind })
    }

    /// How many threads take part in a loop.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `task` with every index below `count`, each once. A panic in a task is raised here
    /// once no task runs any more.
    pub fn run(&self, count: usize, task: &Task) {
        match &self.kind {
            Kind::Pool(pool) => pool.run(count, task),
            Kind::Caller(parallel_for) if count > 1 && !inside_task() => parallel_for.run(count, task),
            _ => run_inline(count, task),
        }
    }
}

/// Lets the tasks of a loop share a job's raw pointers.
pub(crate) struct Shared<T>(T);

// SAFETY: made only by `Shared::new`, whose caller vouches for it.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// The threads of the loop may use `value` at the same time: what they write through it is
    /// disjoint.
    pub(crate) unsafe fn new(value: T) -> Self {
        Shared(value)
    }

    pub(crate) fn get(&self) -> &T {
        &self.0
    }
}
