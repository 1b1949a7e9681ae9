//! Decoding to `f32` panels, and multiplying by them.

use std::arch::x86_64::*;

use crate::backend::Scales;
use crate::backend::cpu::gemm::kernels::{ColumnRun, PanelKernels, RowRun, Tile};

const LANES: usize = 16;
/// 6 rows of 4 vectors are 24 accumulators, which leaves 4 registers for `b` and one for `a`.
const ROWS: usize = 6;
const VECTORS: usize = 4;
/// Elements per 64 bytes of codes.
const CHUNK: usize = 128;
/// How far ahead in a weight row codes are fetched, in bytes.
const AHEAD: usize = 256;

pub(super) const KERNELS: PanelKernels =
    PanelKernels { rows: ROWS, columns: VECTORS * LANES, lanes: LANES, decode_columns, decode_rows, tile };

/// See [`PanelKernels::tile`].
///
/// # Safety
/// The tile is as its fields say, at most [`ROWS`] by [`VECTORS`]; AVX-512 F, BW, VL, DQ.
unsafe fn tile(tile: &Tile) {
    macro_rules! rows {
        ($vectors:literal) => {
            match tile.rows {
                1 => tile_of::<1, $vectors>(tile),
                2 => tile_of::<2, $vectors>(tile),
                3 => tile_of::<3, $vectors>(tile),
                4 => tile_of::<4, $vectors>(tile),
                5 => tile_of::<5, $vectors>(tile),
                _ => tile_of::<6, $vectors>(tile),
            }
        };
    }
    // SAFETY: passed on.
    unsafe {
        match tile.vectors {
            1 => rows!(1),
            2 => rows!(2),
            3 => rows!(3),
            _ => rows!(4),
        }
    }
}

/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn tile_of<const R: usize, const V: usize>(tile: &Tile) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: the caller's contract.
    unsafe {
        let a: [*const f32; R] = std::array::from_fn(|r| tile.a.offset(r as isize * tile.a_stride));
        let mut b = tile.b;
        for t in 0..tile.depth {
            let mut vectors = [_mm512_setzero_ps(); V];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = _mm512_loadu_ps(b.add(v * LANES));
            }
            for (sums, a) in sums.iter_mut().zip(&a) {
                let factor = _mm512_set1_ps(a.add(t).read_unaligned());
                for (sum, vector) in sums.iter_mut().zip(&vectors) {
                    *sum = _mm512_fmadd_ps(factor, *vector, *sum);
                }
            }
            b = b.wrapping_add(tile.b_stride);
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let c = tile.c.add(r * tile.c_stride + v * LANES);
                let sum = if tile.add { _mm512_add_ps(*sum, _mm512_loadu_ps(c)) } else { *sum };
                _mm512_storeu_ps(c, sum);
            }
        }
    }
}

/// See [`PanelKernels::decode_columns`]. The codes are transposed before they are decoded, eight
/// weights at a time.
///
/// # Safety
/// The run is as its fields say; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode_columns(run: &ColumnRun<'_>) {
    let weight = run.weight;
    let codebook = array(&weight.codebook);
    let whole_blocks = run.row_length.is_multiple_of(weight.block_size.get());
    // Elements for which the lanes keep their scales.
    let step = if whole_blocks { weight.block_size.get().min(CHUNK) } else { 32 };
    for chunk in (0..run.count).step_by(CHUNK) {
        let count = CHUNK.min(run.count - chunk);
        // SAFETY: the elements belong to the rows.
        unsafe {
            let codes = transpose(load_rows(run, chunk, count));
            for start in (0..count).step_by(step) {
                let scales = column_scales(run, whole_blocks, chunk + start);
                let codes = &codes[start / 8..count.min(start + step) / 8];
                let mut out = run.panel.add((chunk + start) * run.stride);
                for codes in codes {
                    decode_eight(*codes, codebook, scales, out, run.stride);
                    out = out.wrapping_add(8 * run.stride);
                }
            }
        }
    }
}

/// The codes of `count` elements, a multiple of 32, of each row.
///
/// # Safety
/// The elements exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load_rows(run: &ColumnRun<'_>, chunk: usize, count: usize) -> [__m512i; LANES] {
    let bytes = !0u64 >> (64 - count / 2);
    let mut rows = [_mm512_setzero_si512(); LANES];
    for (lane, row) in rows.iter_mut().enumerate() {
        let element = first_of(run, lane) + chunk;
        let source = run.weight.codes.wrapping_add(element / 2);
        _mm_prefetch::<_MM_HINT_T0>(source.wrapping_add(AHEAD).cast());
        // SAFETY: masked-off bytes are not read.
        *row = unsafe { _mm512_maskz_loadu_epi8(bytes, source.cast()) };
    }
    rows
}

/// The first element of a lane's row; lanes without a row repeat the last.
#[inline]
fn first_of(run: &ColumnRun<'_>, lane: usize) -> usize {
    (run.row + lane.min(run.rows - 1)) * run.row_length + run.start
}

/// Decodes the eight nibbles of each lane to eight panel rows.
///
/// # Safety
/// The rows have room for 16 elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode_eight(codes: __m512i, codebook: __m512, scales: __m512, out: *mut f32, stride: usize) {
    macro_rules! nibble {
        ($j:literal) => {{
            let index = _mm512_srli_epi32::<{ 4 * $j }>(codes);
            let weights = _mm512_mul_ps(_mm512_permutexvar_ps(index, codebook), scales);
            // The first element of a byte is its upper nibble.
            // SAFETY: the caller's contract.
            unsafe { _mm512_storeu_ps(out.add(($j ^ 1) * stride), weights) };
        }};
    }
    nibble!(0);
    nibble!(1);
    nibble!(2);
    nibble!(3);
    nibble!(4);
    nibble!(5);
    nibble!(6);
    nibble!(7);
}

/// The scale of element `offset` of each lane's row.
///
/// # Safety
/// The elements exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn column_scales(run: &ColumnRun<'_>, whole_blocks: bool, offset: usize) -> __m512 {
    let shift = run.weight.block_size.shift();
    let block = |lane: usize| (first_of(run, lane) + offset) >> shift;
    // SAFETY: the blocks hold elements that exist.
    unsafe {
        match run.weight.scales {
            Scales::Plain { absmax } if whole_blocks && run.rows == LANES => {
                let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                let blocks_per_row = _mm512_set1_epi32((run.row_length >> shift) as i32);
                let index = _mm512_mullo_epi32(lanes, blocks_per_row);
                _mm512_i32gather_ps::<4>(index, absmax.add(block(0)).cast())
            }
            scales => {
                let mut values = [0f32; LANES];
                for (lane, value) in values.iter_mut().enumerate() {
                    *value = scales.get(block(lane));
                }
                array(&values)
            }
        }
    }
}

/// See [`PanelKernels::decode_rows`].
///
/// # Safety
/// The run is as its fields say; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) unsafe fn decode_rows(run: &RowRun<'_>) {
    let weight = run.weight;
    let shift = weight.block_size.shift();
    let codebook = array(&weight.codebook);
    for row in 0..run.rows {
        let mut element = run.first + row * run.row_length;
        let end = element + run.count;
        let mut out = run.out.wrapping_add(row * run.stride);
        _mm_prefetch::<_MM_HINT_T0>(weight.codes.wrapping_add((element + 8 * run.row_length) / 2).cast());
        // SAFETY: the elements exist, and `out` has room for them.
        unsafe {
            if element < end && element % 2 == 1 {
                let nibble = *weight.codes.add(element / 2) & 15;
                *out = weight.codebook[usize::from(nibble)] * weight.scales.get(element >> shift);
                (element, out) = (element + 1, out.add(1));
            }
            while element < end {
                let count = end.min(((element >> shift) + 1) << shift) - element;
                let scale = _mm512_set1_ps(weight.scales.get(element >> shift));
                decode_block(weight.codes.add(element / 2), count, codebook, scale, out);
                (element, out) = (element + count, out.add(count));
            }
        }
    }
}

/// Decodes `count` elements of one block from the start of a byte, in their own order: a lane takes
/// the double word that holds its nibble and shifts it by its own amount.
///
/// # Safety
/// The bytes exist, and `out` has room.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode_block(codes: *const u8, count: usize, codebook: __m512, scale: __m512, out: *mut f32) {
    let shifts = _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24);
    // SAFETY: eight bytes hold sixteen elements; the last elements are read and written by masks.
    unsafe {
        let whole = count / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            let source = codes.add(i / 2).cast::<i32>();
            let low = _mm512_set1_epi32(source.read_unaligned());
            let pair = _mm512_mask_set1_epi32(low, 0xff00, source.add(1).read_unaligned());
            let weights = _mm512_permutexvar_ps(_mm512_srlv_epi32(pair, shifts), codebook);
            _mm512_storeu_ps(out.add(i), _mm512_mul_ps(weights, scale));
        }
        let rest = count - whole;
        if rest > 0 {
            let bytes = _mm_maskz_loadu_epi8((1 << rest.div_ceil(2)) - 1, codes.add(whole / 2).cast());
            let halves = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
            let pair = _mm512_permutexvar_epi32(halves, _mm512_castsi128_si512(bytes));
            let weights = _mm512_permutexvar_ps(_mm512_srlv_epi32(pair, shifts), codebook);
            _mm512_mask_storeu_ps(out.add(whole), (1 << rest) - 1, _mm512_mul_ps(weights, scale));
        }
    }
}

/// Transposes 16 rows of 16 double words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut pairs = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    // quads[4 g + c]: rows 4 g to 4 g + 3 of column c, 4 + c, 8 + c, 12 + c.
    let mut quads = [_mm512_setzero_si512(); 16];
    for g in 0..4 {
        quads[4 * g] = _mm512_unpacklo_epi64(pairs[4 * g], pairs[4 * g + 2]);
        quads[4 * g + 1] = _mm512_unpackhi_epi64(pairs[4 * g], pairs[4 * g + 2]);
        quads[4 * g + 2] = _mm512_unpacklo_epi64(pairs[4 * g + 1], pairs[4 * g + 3]);
        quads[4 * g + 3] = _mm512_unpackhi_epi64(pairs[4 * g + 1], pairs[4 * g + 3]);
    }
    let mut columns = [_mm512_setzero_si512(); 16];
    for c in 0..4 {
        // Quarters 0 and 1 (2 and 3) of row groups 0, 1 and 2, 3.
        let low01 = _mm512_shuffle_i32x4::<0x44>(quads[c], quads[4 + c]);
        let high01 = _mm512_shuffle_i32x4::<0xee>(quads[c], quads[4 + c]);
        let low23 = _mm512_shuffle_i32x4::<0x44>(quads[8 + c], quads[12 + c]);
        let high23 = _mm512_shuffle_i32x4::<0xee>(quads[8 + c], quads[12 + c]);
        columns[c] = _mm512_shuffle_i32x4::<0x88>(low01, low23);
        columns[4 + c] = _mm512_shuffle_i32x4::<0xdd>(low01, low23);
        columns[8 + c] = _mm512_shuffle_i32x4::<0x88>(high01, high23);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(high01, high23);
    }
    columns
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn array(values: &[f32; LANES]) -> __m512 {
    // SAFETY: sixteen values.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}
