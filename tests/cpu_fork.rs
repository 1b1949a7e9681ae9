//! A forked child has none of the pool's threads. It must still be able to use an idle backend and
//! to drop it.

#![cfg(unix)]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use fourbit::backend::cpu::Runner;

fn sum_of_indices(runner: &Runner) -> usize {
    let sum = AtomicUsize::new(0);
    runner.run(100, &|i| {
        sum.fetch_add(i, SeqCst);
    });
    sum.into_inner()
}

#[test]
fn a_forked_child_works_alone() {
    let runner = Runner::new(3, None).unwrap();
    assert_eq!(sum_of_indices(&runner), 4950);
    // Idle: the workers have gone to sleep.
    std::thread::sleep(Duration::from_millis(50));
    // SAFETY: the child uses the runner, which takes no lock that another thread may hold, and ends.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            // Ends a child that hangs.
            libc::alarm(20);
            let right = sum_of_indices(&runner) == 4950;
            drop(runner);
            libc::_exit(if right { 0 } else { 1 });
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status:#x}");
    }
    assert_eq!(sum_of_indices(&runner), 4950);
}
