//! Weights from the parts that a file holds, and from whole images.

use std::ffi::CString;
use std::ptr;

use fourbit::ffi::*;

use super::operands::*;

/// Reads a serialized weight; one that is accepted is written, read and used.
pub fn image(data: &[u8]) {
    let mut input = Input(data);
    let context = context(&mut input);
    let mut weight = ptr::null_mut();
    // SAFETY: a live context, bytes of that length, a place for the handle.
    let status = unsafe { fourbit_weight_deserialize(context, input.0.as_ptr(), input.0.len(), &mut weight) };
    if checked(status) {
        use_weight(context, &Held(weight));
    }
}

/// One part as it is handed over.
#[derive(Clone)]
struct Part {
    name: CString,
    dtype: fourbit_dtype,
    shape: Vec<i64>,
    bytes: Vec<u8>,
}

/// The parts of a small quantized matrix, as the library itself gives them.
fn valid_parts(context: *const fourbit_context, input: &mut Input<'_>) -> Vec<Part> {
    let blocks = [32u32, 64, 128, 256, 512, 1024, 2048, 4096];
    let (block_size, quant_type) = (input.pick(&blocks), u32::from(input.byte() & 1));
    let quantizer = Quantizer::new(context, quant_type, block_size, input.byte() & 1 == 1);
    let (n, k) = (input.below(12) as i64, input.below(200) as i64);
    let seed = input.byte();
    let mut values: Vec<f32> =
        (0..n * k).map(|i| ((i * 37 + i64::from(seed)) % 101) as f32 / 50.0 - 1.0).collect();
    let shape = [n, k];
    let source = view(values.as_mut_ptr().cast(), F32, &shape, None);
    let mut weight = ptr::null_mut();
    // SAFETY: live handles and a valid tensor.
    assert!(checked(unsafe { fourbit_quantize(quantizer.0, &source, &mut weight) }), "{}", words());
    let weight = Held(weight);
    let mut count = 0;
    // SAFETY: a live weight.
    assert!(checked(unsafe { fourbit_weight_part_count(weight.0, &mut count) }));
    (0..count).map(|i| copy_part(&weight, i)).collect()
}

fn copy_part(weight: &Held, index: usize) -> Part {
    let mut name = ptr::null();
    let mut tensor = std::mem::MaybeUninit::<fourbit_tensor>::uninit();
    // SAFETY: a live weight; name, view and shape are valid while it lives, and the views are compact.
    unsafe {
        assert!(checked(fourbit_weight_part(weight.0, index, &mut name, tensor.as_mut_ptr())));
        let tensor = tensor.assume_init();
        let shape = std::slice::from_raw_parts(tensor.shape, tensor.ndim as usize).to_vec();
        let len = shape.iter().product::<i64>() as usize * tensor.dtype.bits as usize / 8;
        let bytes = if len == 0 { &[] } else { std::slice::from_raw_parts(tensor.data.cast(), len) };
        Part {
            name: std::ffi::CStr::from_ptr(name).to_owned(),
            dtype: tensor.dtype,
            shape,
            bytes: bytes.to_vec(),
        }
    }
}

/// Changes one thing of one part, or of the list.
fn damage(parts: &mut Vec<Part>, input: &mut Input<'_>) {
    const NAMES: [&std::ffi::CStr; 9] = [
        c"",
        c"absmax",
        c"quant_map",
        c"nested_absmax",
        c"nested_quant_map",
        c"quant_state.bitsandbytes__nf4",
        c"quant_state.bitsandbytes__fp4",
        c"model.w.weight",
        c"model.w.weight.quant_state.bitsandbytes__nf4",
    ];
    const U8: fourbit_dtype = fourbit_dtype { code: 1, bits: 8, lanes: 1 };
    const I8: fourbit_dtype = fourbit_dtype { code: 0, bits: 8, lanes: 1 };
    if parts.is_empty() {
        return;
    }
    let at = input.below(parts.len());
    let part = &mut parts[at];
    match input.byte() % 9 {
        0 => part.dtype = input.pick(&[U8, I8, F32, F16, BF16]),
        1 => part.shape = (0..input.below(4)).map(|_| input.word() as i64 % 300).collect(),
        2 if !part.bytes.is_empty() => {
            let place = input.word() as usize % part.bytes.len();
            part.bytes[place] = input.byte();
        }
        3 => drop(parts.remove(at)),
        4 => {
            let copy = part.clone();
            parts.push(copy);
        }
        5 => part.name = input.pick(&NAMES).to_owned(),
        6 => {
            let len = input.word() as usize % 400;
            part.bytes = input.take(len).to_vec();
            part.shape = vec![part.bytes.len() as i64];
        }
        // A text with one word exchanged: the JSON stays well-formed.
        7 => {
            let numbers = ["0", "3", "64", "256", "4096", "-1", "1e9", "NaN", "null", "18446744073709551616"];
            let text = String::from_utf8_lossy(&part.bytes).into_owned();
            let words: Vec<&str> = text.split_inclusive([' ', ',', '}', ']']).collect();
            if !words.is_empty() {
                let chosen = input.below(words.len());
                let end = words[chosen].chars().last().unwrap_or(' ');
                let new = format!("{}{end}", input.pick(&numbers));
                let changed = words.iter().enumerate().map(|(i, w)| if i == chosen { &new } else { *w });
                part.bytes = changed.collect::<String>().into_bytes();
                part.shape = vec![part.bytes.len() as i64];
            }
        }
        _ => parts.rotate_left(1),
    }
}

/// The parts of a valid weight with a few things changed. What is accepted is written, read, decoded
/// and multiplied with.
pub fn weight_parts(data: &[u8]) {
    let mut input = Input(data);
    let context = context(&mut input);
    let mut parts = valid_parts(context, &mut input);
    let mut damages = 0;
    while !input.is_empty() && damages < 16 {
        damage(&mut parts, &mut input);
        damages += 1;
    }
    for part in &mut parts {
        let len = part.shape.iter().product::<i64>() as usize * part.dtype.bits as usize / 8;
        part.bytes.resize(len, 0);
    }
    let names: Vec<_> = parts.iter().map(|p| p.name.as_ptr()).collect();
    let held: Vec<Box<[u8]>> = parts.iter().map(|p| p.bytes.clone().into_boxed_slice()).collect();
    let views: Vec<fourbit_tensor> = parts
        .iter()
        .zip(&held)
        .map(|(p, bytes)| view(bytes.as_ptr().cast_mut(), p.dtype, &p.shape, None))
        .collect();
    let mut weight = ptr::null_mut();
    // SAFETY: names and views of live memory.
    let status = unsafe {
        fourbit_weight_from_parts(context, names.as_ptr(), views.as_ptr(), parts.len(), &mut weight)
    };
    if checked(status) {
        use_weight(context, &Held(weight));
    } else {
        assert!(damages > 0, "undamaged parts were refused: {}", words());
    }
}

/// What may be done with any accepted weight: nothing of it may crash.
fn use_weight(context: *const fourbit_context, weight: &Held) {
    // SAFETY: plain data, valid when zero.
    let mut info: fourbit_weight_info = unsafe { std::mem::zeroed() };
    info.struct_size = size_of::<fourbit_weight_info>() as u32;
    // SAFETY: a live weight and a struct of the stated size.
    assert!(checked(unsafe { fourbit_weight_query(weight.0, &mut info) }));
    round_trip(context, weight);
    let shape = &info.shape[..info.ndim as usize];
    assert!(info.element_count <= 1 << 24, "more elements than the parts can hold");
    let mut decoded = exact(info.element_count as usize * 2, 0);
    let destination = view(decoded.as_mut_ptr(), BF16, shape, None);
    // SAFETY: live handles; the destination is as large as its shape.
    assert!(checked(unsafe { fourbit_dequantize(context, weight.0, &destination) }), "{}", words());
    if let [n, k] = *shape {
        let input = exact(3 * k as usize * 4, 0x3f);
        let mut output = exact(3 * n as usize * 4, 0);
        let (x_shape, y_shape) = ([3, k], [3, n]);
        let x = view(input.as_ptr().cast_mut(), F32, &x_shape, None);
        let y = view(output.as_mut_ptr(), F32, &y_shape, None);
        // SAFETY: live handles; tensors as large as their shapes.
        let status = unsafe { fourbit_gemm(context, &x, weight.0, ptr::null(), ptr::null(), &y) };
        assert!(checked(status), "{}", words());
    }
}

fn round_trip(context: *const fourbit_context, weight: &Held) {
    let mut len = 0;
    // SAFETY: a live weight; no buffer, so only the length is asked for.
    let status = unsafe { fourbit_weight_serialize(weight.0, ptr::null_mut(), 0, &mut len) };
    assert!(status == OK || status == fourbit_status::BufferTooSmall);
    let mut image = exact(len, 0);
    let mut again = ptr::null_mut();
    // SAFETY: buffers of the lengths stated.
    unsafe {
        assert!(checked(fourbit_weight_serialize(weight.0, image.as_mut_ptr(), image.len(), &mut len)));
        let status = fourbit_weight_deserialize(context, image.as_ptr(), len, &mut again);
        assert!(checked(status), "what was written is refused: {}", words());
    }
    let again = Held(again);
    let mut second = exact(len, 0);
    // SAFETY: as above.
    unsafe {
        assert!(checked(fourbit_weight_serialize(again.0, second.as_mut_ptr(), second.len(), &mut len)));
    }
    assert_eq!(image, second, "an image changes when it is read and written");
}
