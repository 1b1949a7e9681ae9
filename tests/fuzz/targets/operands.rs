//! Fuzz bytes read as numbers, and what several targets need of the C ABI.

use std::ptr;
use std::sync::OnceLock;

use fourbit::ffi::*;

/// Bytes taken one after the other; zeros after the end.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn long(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.fill_with(|| self.byte());
        u64::from_le_bytes(bytes)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.word() as usize % end
    }

    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.byte() as usize % all.len()]
    }

    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub const F32: fourbit_dtype = fourbit_dtype { code: 2, bits: 32, lanes: 1 };
pub const F16: fourbit_dtype = fourbit_dtype { code: 2, bits: 16, lanes: 1 };
pub const BF16: fourbit_dtype = fourbit_dtype { code: 4, bits: 16, lanes: 1 };
pub const FLOATS: [fourbit_dtype; 3] = [F32, F16, BF16];

pub const OK: fourbit_status = fourbit_status::Ok;

/// No input may lead to a panic, which the boundary reports as a status.
pub fn checked(status: fourbit_status) -> bool {
    assert!(status != fourbit_status::Panic, "{}", words());
    if status != OK {
        assert!(!words().is_empty(), "a failure without words");
    }
    status == OK
}

pub fn words() -> String {
    // SAFETY: this thread's text; no call changes it meanwhile.
    unsafe { std::ffi::CStr::from_ptr(fourbit_last_error()) }.to_string_lossy().into_owned()
}

/// A view of compact or strided memory on the CPU.
pub fn view(data: *mut u8, dtype: fourbit_dtype, shape: &[i64], strides: Option<&[i64]>) -> fourbit_tensor {
    fourbit_tensor {
        data: data.cast(),
        device: fourbit_device { kind: 1, index: 0 },
        ndim: shape.len() as i32,
        dtype,
        shape: shape.as_ptr(),
        strides: strides.map_or(ptr::null(), <[i64]>::as_ptr),
        byte_offset: 0,
    }
}

/// One context for every instruction set of the machine and for one, two and three threads.
pub fn contexts() -> &'static [usize] {
    static ALL: OnceLock<Vec<usize>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Vec::new();
        for isa in 1..=6u32 {
            for num_threads in 1..=3u32 {
                // SAFETY: plain data, valid when zero.
                let mut config: fourbit_context_config = unsafe { std::mem::zeroed() };
                config.struct_size = size_of::<fourbit_context_config>() as u32;
                config.num_threads = num_threads;
                config.cpu_isa_max = isa;
                let mut context = ptr::null_mut();
                // SAFETY: a valid config and a place for the handle.
                if unsafe { fourbit_context_create(&config, &mut context) } == OK {
                    all.push(context as usize);
                }
            }
        }
        assert!(!all.is_empty(), "no context at all: {}", words());
        all
    })
}

pub fn context(input: &mut Input<'_>) -> *const fourbit_context {
    input.pick(contexts()) as *const fourbit_context
}

/// A quantizer, given up when dropped.
pub struct Quantizer(pub *mut fourbit_quantizer);

impl Quantizer {
    pub fn new(
        context: *const fourbit_context,
        quant_type: u32,
        block_size: u32,
        double_quant: bool,
    ) -> Self {
        // SAFETY: plain data, valid when zero.
        let mut config: fourbit_quant_config = unsafe { std::mem::zeroed() };
        config.struct_size = size_of::<fourbit_quant_config>() as u32;
        config.quant_type = quant_type;
        config.block_size = block_size;
        config.double_quant = double_quant.into();
        let mut made = ptr::null_mut();
        // SAFETY: a live context, a valid config, a place for the handle.
        let status = unsafe { fourbit_quantizer_create(context.cast_mut(), &config, &mut made) };
        assert!(checked(status), "{}", words());
        Quantizer(made)
    }
}

impl Drop for Quantizer {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used no more.
        unsafe { fourbit_quantizer_destroy(self.0) };
    }
}

/// A weight, given up when dropped.
pub struct Held(pub *mut fourbit_weight);

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: a weight that the library gave, used no more.
        unsafe { fourbit_weight_destroy(self.0) };
    }
}

/// Exactly as many bytes as asked for, so that a sanitizer sees the first byte beyond.
pub fn exact(len: usize, fill: u8) -> Box<[u8]> {
    vec![fill; len].into_boxed_slice()
}
