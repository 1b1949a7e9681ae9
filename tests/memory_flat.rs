//! Memory does not grow, however often handles are made and destroyed and products computed.
//! FOURBIT_SOAK_CALLS calls (20,000; a tenth of it products): `make soak` asks for a million.
#![cfg(target_os = "linux")]

mod ffi_support;
#[path = "common/values.rs"]
mod values;

use ffi_support::{Context, number, ok, tensor, words};
use fourbit::ffi::*;

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Runs `call` `count` times after a warm-up, and allows for 1 MB of growth.
fn is_flat(what: &str, count: u64, mut call: impl FnMut(u64)) {
    (0..count.min(2000)).for_each(&mut call);
    let before = resident();
    (0..count).for_each(&mut call);
    let grown = resident().saturating_sub(before);
    println!("{what}: {count} times, {grown} bytes more in memory");
    assert!(grown < 1 << 20, "{what}: {grown} bytes more in memory after {count} times");
}

#[test]
fn memory_does_not_grow() {
    let calls = number("FOURBIT_SOAK_CALLS", 20_000);
    let context = Context::new(1);
    let mut random = values::Random::new(1);
    let values = random.normals(64 * 128, 0.1);
    let weight = context.quantize(&values, [64, 128], true);
    let image = weight.image();

    is_flat("weights quantized and destroyed", calls / 10, |i| {
        drop(context.quantize(&values[..1024], [8, 128], i % 2 == 0));
    });
    is_flat("weights read and destroyed", calls, |_| {
        let mut read = std::ptr::null_mut();
        // SAFETY: a live context, bytes of that length, a place for the handle.
        ok(unsafe { fourbit_weight_deserialize(context.0, image.as_ptr(), image.len(), &mut read) });
        drop(ffi_support::Weight(read));
    });
    is_flat("failures", calls, |i| {
        let shape = [i as i64 % 7 + 1, 3];
        let wrong = tensor(values.as_ptr(), &shape);
        // SAFETY: live handles and valid tensors, whose shapes do not fit.
        let status =
            unsafe { fourbit_gemm(context.0, &wrong, weight.0, std::ptr::null(), std::ptr::null(), &wrong) };
        assert!(status == fourbit_status::ShapeMismatch && words().contains('3'));
    });
    is_flat("contexts with threads", calls / 100, |_| drop(Context::new(3)));
    let two = Context::new(2);
    is_flat("products", calls / 10, |i| {
        let rows = [1, 2, 7, 16, 40][i as usize % 5];
        let input = &values[..rows as usize * 128];
        drop(two.multiply(input, rows, &weight, [64, 128]));
    });
}
