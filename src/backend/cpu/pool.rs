//! A thread pool for short data-parallel loops.
//!
//! A loop is published in one atomic word; workers join it while it is open, and the caller, who
//! takes part, closes it once all indices are handed out. A worker that wakes too late finds it
//! closed and goes back to sleep, so nobody waits for a thread that has nothing to do. In a forked
//! child, which has no workers, the caller simply does all the work.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::float_env::DefaultFloatEnv;
use crate::error::{Result, err};

/// The body of a loop.
pub(crate) type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// How long a thread watches for work (or for the last worker to finish) before it sleeps: longer
/// than what a model does between two products, as waking a thread takes tens of microseconds.
const SPIN: Duration = Duration::from_micros(200);

/// State word: bits 0..30 count the workers inside the loop, then two flags, then the loop's number.
const WORKERS: u64 = (1 << 30) - 1;
const OPEN: u64 = 1 << 30;
const CALLER_SLEEPS: u64 = 1 << 31;
const LOOP_NUMBER: u64 = 1 << 32;

thread_local! {
    static INSIDE_TASK: Cell<bool> = const { Cell::new(false) };
}

/// Hands out the indices of one loop, and keeps the first panic.
pub(super) struct Indices<'a> {
    next: AtomicUsize,
    count: usize,
    task: &'a Task<'a>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl<'a> Indices<'a> {
    pub(super) fn new(count: usize, task: &'a Task<'a>) -> Self {
        Indices { next: AtomicUsize::new(0), count, task, panic: Mutex::new(None) }
    }

    /// Runs at most `limit` of the remaining indices on this thread.
    pub(super) fn work(&self, limit: usize) {
        let _env = DefaultFloatEnv::set();
        let outer = INSIDE_TASK.replace(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..limit {
                // Checked first, so that late calls cannot make the counter wrap.
                if self.next.load(Relaxed) >= self.count {
                    break;
                }
                let index = self.next.fetch_add(1, Relaxed);
                if index >= self.count {
                    break;
                }
                (self.task)(index);
            }
        }));
        INSIDE_TASK.set(outer);
        if let Err(payload) = outcome {
            self.next.store(self.count, Relaxed);
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        }
    }

    /// Raises the panic that a task raised, if one did.
    pub(super) fn finish(self) {
        if let Some(payload) = self.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(payload);
        }
    }
}

/// Whether this thread is running a task: a loop inside it must not wait for the pool.
pub(super) fn inside_task() -> bool {
    INSIDE_TASK.get()
}

/// Runs all indices on this thread.
pub(super) fn run_inline(count: usize, task: &Task) {
    let indices = Indices::new(count, task);
    indices.work(count);
    indices.finish();
}

struct Shared {
    state: AtomicU64,
    /// The published loop; valid while `state` is open or counts workers.
    current: UnsafeCell<*const Indices<'static>>,
    /// Held by the caller whose loop is published.
    busy: AtomicBool,
    shutdown: AtomicBool,
    sleepers: AtomicUsize,
    /// Guards both conditions below.
    lock: Mutex<()>,
    work_or_shutdown: Condvar,
    all_left: Condvar,
}

// SAFETY: `current` is written only by the holder of `busy` while no worker is inside a loop, and
// read only by workers that joined, which the atomic `state` orders after the write.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is never dereferenced outside the loop it belongs to.
unsafe impl Send for Shared {}

/// Worker threads, joined when dropped.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    process: u32,
}

impl Pool {
    /// A pool of `threads` threads, the caller of [`run`](Self::run) included.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            current: UnsafeCell::new(std::ptr::null()),
            busy: AtomicBool::new(false),
            shutdown: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            work_or_shutdown: Condvar::new(),
            all_left: Condvar::new(),
        });
        let mut pool = Pool { shared, workers: Vec::new(), process: std::process::id() };
        for i in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name(format!("fourbit-{i}"))
                .spawn(move || shared.worker())
                .map_err(|e| err!(OutOfMemory, "cannot start thread {i} of {threads}: {e}"))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Calls `task` with every index below `count`, each once, on any of the threads. A panic in a
    /// task keeps further indices from starting and is raised here once the running ones ended.
    ///
    /// While another thread's loop runs, and inside a task, the loop runs on the calling thread.
    pub(crate) fn run(&self, count: usize, task: &Task) {
        let shared = &*self.shared;
        if count < 2 || inside_task() || shared.busy.swap(true, Acquire) {
            return run_inline(count, task);
        }
        let indices = Indices::new(count, task);
        shared.open(&indices);
        indices.work(count);
        shared.close();
        shared.busy.store(false, Release);
        indices.finish();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            // A forked child: the threads exist only in the parent.
            self.workers.drain(..).for_each(std::mem::forget);
            return;
        }
        self.shared.shutdown.store(true, SeqCst);
        drop(self.shared.lock());
        self.shared.work_or_shutdown.notify_all();
        for worker in self.workers.drain(..) {
            // Workers catch the panics of tasks; they cannot end by one.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a loop. The caller holds `busy`, closes the loop before `indices` ends, and so no
    /// worker sees it afterwards.
    fn open(&self, indices: &Indices<'_>) {
        // SAFETY: no loop is open and no worker inside one (the last `close` waited for that), so
        // nobody reads the cell.
        unsafe { *self.current.get() = std::ptr::from_ref(indices).cast() };
        let number = self.state.load(Relaxed) & !(LOOP_NUMBER - 1);
        self.state.store(number.wrapping_add(LOOP_NUMBER) | OPEN, SeqCst);
        let wanted = indices.count - 1;
        let sleepers = self.sleepers.load(SeqCst);
        if sleepers > 0 {
            drop(self.lock());
            if wanted >= sleepers {
                self.work_or_shutdown.notify_all();
            } else {
                (0..wanted).for_each(|_| self.work_or_shutdown.notify_one());
            }
        }
    }

    /// Lets no further worker in and waits for those inside to leave.
    fn close(&self) {
        if self.state.fetch_and(!OPEN, AcqRel) & WORKERS == 0 {
            return;
        }
        if spin_until(|| self.state.load(Acquire) & WORKERS == 0) {
            return;
        }
        let mut guard = self.lock();
        self.state.fetch_or(CALLER_SLEEPS, AcqRel);
        while self.state.load(Acquire) & WORKERS != 0 {
            guard = self.all_left.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn worker(&self) {
        let mut last = 0;
        while let Some(state) = self.next_loop(last) {
            last = state & !(LOOP_NUMBER - 1);
            if self.state.compare_exchange(state, state + 1, AcqRel, Relaxed).is_err() {
                // Closed meanwhile, or another worker joined first: look again.
                last = last.wrapping_sub(LOOP_NUMBER);
                continue;
            }
            // SAFETY: joined while open, so `close` waits for this worker and the loop is alive.
            let indices = unsafe { &**self.current.get() };
            indices.work(usize::MAX);
            let before = self.state.fetch_sub(1, AcqRel);
            if before & WORKERS == 1 && before & CALLER_SLEEPS != 0 {
                drop(self.lock());
                self.all_left.notify_one();
            }
        }
    }

    /// Waits for an open loop other than number `last`; `None` at shutdown.
    fn next_loop(&self, last: u64) -> Option<u64> {
        let ready = || {
            let state = self.state.load(SeqCst);
            let fresh = state & OPEN != 0 && state & !(LOOP_NUMBER - 1) != last;
            (fresh || self.shutdown.load(SeqCst)).then_some(state)
        };
        let mut found = None;
        if !spin_until(|| {
            found = ready();
            found.is_some()
        }) {
            let mut guard = self.lock();
            self.sleepers.fetch_add(1, SeqCst);
            found = ready();
            while found.is_none() {
                guard = self.work_or_shutdown.wait(guard).unwrap_or_else(PoisonError::into_inner);
                found = ready();
            }
            self.sleepers.fetch_sub(1, SeqCst);
        }
        found.filter(|_| !self.shutdown.load(SeqCst))
    }
}

/// Watches `done` for [`SPIN`]; whether it came true.
fn spin_until(mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            return false;
        }
    }
}
