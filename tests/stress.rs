//! Many threads at once, each doing something else: quantizing, multiplying through shared contexts and
//! weights, failing, making and destroying handles in any order. Every result is compared.
//! FOURBIT_STRESS_THREADS threads (16) for FOURBIT_SOAK_SECONDS seconds (3); the long form is `make soak`.

mod ffi_support;
#[path = "common/values.rs"]
mod values;

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ffi_support::{Context, Weight, number, ok, tensor, words};
use fourbit::ffi::*;
use values::Random;

/// A weight that all threads use, and what it and its products must be.
struct Shared {
    weight: Weight,
    shape: [i64; 2],
    values: Vec<f32>,
    double_quant: bool,
    image: Vec<u8>,
    inputs: Vec<(i64, Vec<f32>, Vec<f32>)>,
}

impl Shared {
    fn new(random: &mut Random, context: &Context, shape: [i64; 2], double_quant: bool) -> Shared {
        let values = random.normals((shape[0] * shape[1]) as usize, 0.1);
        let weight = context.quantize(&values, shape, double_quant);
        let inputs = [1, 2, 5, 16, 33].map(|rows| {
            let input = random.normals((rows * shape[1]) as usize, 1.0);
            let output = context.multiply(&input, rows, &weight, shape);
            (rows, input, output)
        });
        Shared { image: weight.image(), weight, shape, values, double_quant, inputs: inputs.into() }
    }
}

fn fails(shared: &Shared, context: &Context, random: &mut Random) {
    let shape = [3, 4 + random.below(9) as i64];
    let values = [0f32; 64];
    let wrong = tensor(values.as_ptr(), &shape);
    // SAFETY: live handles, valid tensors; the shapes do not fit the weight, so nothing is written.
    let status =
        unsafe { fourbit_gemm(context.0, &wrong, shared.weight.0, ptr::null(), ptr::null(), &wrong) };
    assert_eq!(status, fourbit_status::ShapeMismatch);
    // Each thread reads its own failure.
    assert!(words().contains(&shape[1].to_string()), "{}", words());
    let mut info = ptr::null();
    // SAFETY: a NULL handle is refused, whatever else is passed.
    let status = unsafe { fourbit_weight_part(ptr::null(), 0, &mut info, ptr::null_mut()) };
    assert_eq!(status, fourbit_status::InvalidArgument);
    assert!(words().contains("NULL"), "{}", words());
}

fn step(shared: &[Shared], contexts: &[Context], random: &mut Random) {
    let one = &shared[random.below(shared.len())];
    let context = &contexts[random.below(contexts.len())];
    match random.below(8) {
        0 => {
            let again = context.quantize(&one.values, one.shape, one.double_quant);
            assert!(again.image() == one.image, "quantized differently");
        }
        1 => fails(one, context, random),
        2 => {
            // A context that lives for one product, destroyed before the copy made with it.
            let own = Context::new(1 + random.below(3) as u32);
            let (rows, input, output) = &one.inputs[random.below(one.inputs.len())];
            let mut copy = ptr::null_mut();
            // SAFETY: live handles and a place for the new one.
            ok(unsafe { fourbit_weight_copy_to(one.weight.0, own.0, &mut copy) });
            let copy = Weight(copy);
            assert!(own.multiply(input, *rows, &copy, one.shape) == *output, "multiplied differently");
            drop(own);
            assert!(copy.image() == one.image);
        }
        3 => {
            let mut read = ptr::null_mut();
            let image = &one.image;
            // SAFETY: a live context, bytes of that length, a place for the handle.
            ok(unsafe { fourbit_weight_deserialize(context.0, image.as_ptr(), image.len(), &mut read) });
            assert!(Weight(read).image() == *image);
        }
        _ => {
            let (rows, input, output) = &one.inputs[random.below(one.inputs.len())];
            let got = context.multiply(input, *rows, &one.weight, one.shape);
            assert!(got == *output, "multiplied differently");
        }
    }
}

#[test]
fn many_threads_do_not_disturb_one_another() {
    let threads = number("FOURBIT_STRESS_THREADS", 16);
    let end = Instant::now() + Duration::from_secs(number("FOURBIT_SOAK_SECONDS", 3));
    let seed = number("FOURBIT_SEED", 1);
    let contexts = [Context::new(1), Context::new(2), Context::new(3)];
    let mut random = Random::new(seed);
    let shared = [
        Shared::new(&mut random, &contexts[0], [48, 128], false),
        Shared::new(&mut random, &contexts[0], [33, 97], true),
        Shared::new(&mut random, &contexts[0], [256, 320], true),
    ];
    let steps = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (shared, contexts, steps) = (&shared, &contexts, &steps);
            scope.spawn(move || {
                let mut random = Random::new(seed * 1000 + thread);
                while Instant::now() < end {
                    step(shared, contexts, &mut random);
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let steps = steps.into_inner();
    println!("seed {seed}: {threads} threads, {steps} steps, every result as expected");
    assert!(steps > threads, "only {steps} steps by {threads} threads: a thread hangs");
}
