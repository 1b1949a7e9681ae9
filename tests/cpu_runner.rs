//! Parallel loops: every index once, panics, nesting, several callers, the caller's own loop.

#[path = "common/float_env.rs"]
mod float_env;

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use fourbit::backend::cpu::{MAX_THREADS, ParallelFor, Runner};

fn counts_each_once(runner: &Runner, count: usize) {
    let hits: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
    runner.run(count, &|i| {
        hits[i].fetch_add(1, SeqCst);
    });
    assert!(hits.iter().all(|h| h.load(SeqCst) == 1), "{count} indices on {} threads", runner.threads());
}

#[test]
fn every_index_runs_once() {
    for threads in [1, 2, 3, 7] {
        let runner = Runner::new(threads, None).unwrap();
        assert_eq!(runner.threads(), threads);
        for count in [0, 1, 2, 3, 100, 1000] {
            for _ in 0..20 {
                counts_each_once(&runner, count);
            }
        }
    }
}

#[test]
fn sleeping_workers_wake_up() {
    let runner = Runner::new(3, None).unwrap();
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(2));
        let threads = std::sync::Mutex::new(std::collections::HashSet::new());
        runner.run(3, &|_| {
            threads.lock().unwrap().insert(std::thread::current().id());
            // Long enough for the others to take theirs.
            std::thread::sleep(std::time::Duration::from_millis(30));
        });
        if threads.into_inner().unwrap().len() == 3 {
            return;
        }
    }
    panic!("the workers never took part");
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let runner = Runner::new(3, None).unwrap();
    for bad in [0, 5, 99] {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            runner.run(100, &|i| assert!(i != bad, "task {i}"));
        }));
        let words = *outcome.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(words, format!("task {bad}"));
        counts_each_once(&runner, 100);
    }
}

#[test]
fn loops_inside_tasks_run_to_the_end() {
    let runner = Runner::new(2, None).unwrap();
    let other = Runner::new(2, None).unwrap();
    let sum = AtomicUsize::new(0);
    runner.run(10, &|_| {
        for runner in [&runner, &other] {
            runner.run(10, &|i| {
                sum.fetch_add(i, SeqCst);
            });
        }
    });
    assert_eq!(sum.into_inner(), 10 * 2 * 45);
}

#[test]
fn several_callers_share_a_pool() {
    let runner = Runner::new(3, None).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| counts_each_once(&runner, 37)));
        }
    });
}

#[test]
fn too_many_threads_are_refused() {
    let words = Runner::new(MAX_THREADS + 1, None).err().unwrap().to_string();
    assert!(words.contains("1025") && words.contains("1024"), "{words}");
}

type Task = unsafe extern "C" fn(*mut c_void, usize);

unsafe extern "C" fn backwards(user: *mut c_void, count: usize, task: Task, data: *mut c_void) {
    // SAFETY: `user` is the test's counter.
    unsafe { (*user.cast::<AtomicUsize>()).fetch_add(1, SeqCst) };
    // SAFETY: the contract of a parallel loop.
    (0..count).rev().for_each(|i| unsafe { task(data, i) });
}

unsafe extern "C" fn on_threads(_: *mut c_void, count: usize, task: Task, data: *mut c_void) {
    let data = data as usize;
    std::thread::scope(|scope| {
        for part in 0..3 {
            scope.spawn(move || {
                for i in (part..count).step_by(3) {
                    // SAFETY: the contract of a parallel loop.
                    unsafe { task(data as *mut c_void, i) };
                }
            });
        }
    });
}

unsafe extern "C" fn forgetful(_: *mut c_void, count: usize, task: Task, data: *mut c_void) {
    // SAFETY: the contract of a parallel loop, except that indices are repeated and left out.
    (0..count / 2).for_each(|_| unsafe { task(data, 0) });
}

#[test]
fn the_callers_loop_is_used() {
    let calls = AtomicUsize::new(0);
    let user = std::ptr::from_ref(&calls).cast_mut().cast();
    // SAFETY: the functions may be called from any thread, and the counter outlives the runners.
    let loops = unsafe {
        [
            ParallelFor::new(backwards, user),
            ParallelFor::new(on_threads, user),
            ParallelFor::new(forgetful, user),
        ]
    };
    for parallel_for in loops {
        let runner = Runner::new(4, Some(parallel_for)).unwrap();
        counts_each_once(&runner, 100);
        let outcome = catch_unwind(AssertUnwindSafe(|| runner.run(100, &|i| assert!(i != 3))));
        assert!(outcome.is_err());
    }
    assert_eq!(calls.into_inner(), 2, "two loops, one of them with a panic");
}

/// Flush-to-zero and a rounding mode of the caller change nothing, and are there again afterwards.
#[test]
fn tasks_see_the_default_floating_point_environment() {
    for threads in [1, 2] {
        let runner = Runner::new(threads, None).unwrap();
        float_env::set(float_env::FLUSH_AND_ROUND_UP);
        runner.run(8, &|_| assert_eq!(float_env::get(), float_env::DEFAULT));
        let after = float_env::get();
        float_env::set(float_env::DEFAULT);
        assert_eq!(after, float_env::FLUSH_AND_ROUND_UP);
    }
}
