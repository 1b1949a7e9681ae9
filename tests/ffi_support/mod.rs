//! The C ABI called from tests: handles that are given up when dropped, tensors over slices.
#![allow(dead_code)]

use std::ptr;

use fourbit::ffi::*;

pub const F32: fourbit_dtype = fourbit_dtype { code: 2, bits: 32, lanes: 1 };

/// The words of this thread's last failure.
pub fn words() -> String {
    // SAFETY: this thread's text, which no call changes meanwhile.
    unsafe { std::ffi::CStr::from_ptr(fourbit_last_error()) }.to_string_lossy().into_owned()
}

#[track_caller]
pub fn ok(status: fourbit_status) {
    assert_eq!(status, fourbit_status::Ok, "{}", words());
}

/// A compact float32 tensor over memory that outlives the call it is made for.
pub fn tensor(data: *const f32, shape: &[i64]) -> fourbit_tensor {
    fourbit_tensor {
        data: data.cast_mut().cast(),
        device: fourbit_device { kind: 1, index: 0 },
        ndim: shape.len() as i32,
        dtype: F32,
        shape: shape.as_ptr(),
        strides: ptr::null(),
        byte_offset: 0,
    }
}

pub struct Context(pub *mut fourbit_context);
// SAFETY: any number of threads may use one context.
unsafe impl Sync for Context {}
// SAFETY: as above.
unsafe impl Send for Context {}

impl Context {
    pub fn new(threads: u32) -> Context {
        // SAFETY: plain data, valid when zero.
        let mut config: fourbit_context_config = unsafe { std::mem::zeroed() };
        config.struct_size = size_of::<fourbit_context_config>() as u32;
        config.num_threads = threads;
        let mut made = ptr::null_mut();
        // SAFETY: a valid config and a place for the handle.
        ok(unsafe { fourbit_context_create(&config, &mut made) });
        Context(made)
    }

    pub fn quantize(&self, values: &[f32], shape: [i64; 2], double_quant: bool) -> Weight {
        // SAFETY: plain data, valid when zero; then live handles and a tensor over `values`.
        unsafe {
            let mut config: fourbit_quant_config = std::mem::zeroed();
            config.struct_size = size_of::<fourbit_quant_config>() as u32;
            config.double_quant = double_quant.into();
            let (mut quantizer, mut weight) = (ptr::null_mut(), ptr::null_mut());
            ok(fourbit_quantizer_create(self.0, &config, &mut quantizer));
            assert_eq!(values.len() as i64, shape[0] * shape[1]);
            ok(fourbit_quantize(quantizer, &tensor(values.as_ptr(), &shape), &mut weight));
            fourbit_quantizer_destroy(quantizer);
            Weight(weight)
        }
    }

    /// `rows` of `input` times the weight `[n, k]`.
    pub fn multiply(&self, input: &[f32], rows: i64, weight: &Weight, [n, k]: [i64; 2]) -> Vec<f32> {
        assert_eq!(input.len() as i64, rows * k);
        let mut output = vec![0f32; (rows * n) as usize];
        let (x_shape, y_shape) = ([rows, k], [rows, n]);
        let (x, y) = (tensor(input.as_ptr(), &x_shape), tensor(output.as_mut_ptr(), &y_shape));
        // SAFETY: live handles; tensors as large as their shapes.
        ok(unsafe { fourbit_gemm(self.0, &x, weight.0, ptr::null(), ptr::null(), &y) });
        output
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used no more.
        unsafe { fourbit_context_destroy(self.0) };
    }
}

pub struct Weight(pub *mut fourbit_weight);
// SAFETY: weights are immutable.
unsafe impl Sync for Weight {}
// SAFETY: as above.
unsafe impl Send for Weight {}

impl Weight {
    pub fn image(&self) -> Vec<u8> {
        let mut len = 0;
        // SAFETY: a live weight; first only the length is asked for.
        unsafe {
            fourbit_weight_serialize(self.0, ptr::null_mut(), 0, &mut len);
            let mut image = vec![0; len];
            ok(fourbit_weight_serialize(self.0, image.as_mut_ptr(), len, &mut len));
            image
        }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        // SAFETY: given by the library, used no more.
        unsafe { fourbit_weight_destroy(self.0) };
    }
}

pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}
