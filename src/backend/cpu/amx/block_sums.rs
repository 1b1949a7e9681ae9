//! Tiles of unscaled codebook values, decoded while others are multiplied.
//!
//! The work is a sequence of *windows*: 16 weight rows by 128 elements. At any time one window is
//! decoded, the one before is multiplied, the sums of the one before that are stored, and those of a
//! fourth are scaled and added up. Instructions of all four alternate in short pieces, because a
//! processor looks only some hundred instructions ahead, and a tile product, its loads and the
//! store of its sums take long.
//!
//! 16 bytes of codes, given four times and shifted by 0, 4, 8 and 12 bits, are the indices of 32
//! weights in order of nibbles: word `8 l + w` holds element `4 w + [1, 0, 3, 2][l]`. One `vpermw`
//! looks up a `bf16` term of all of them. A tile has 16 weight rows of 32 elements; two tiles make a
//! block of 64, whose sums are in a tile of their own.

use std::arch::asm;
use std::arch::x86_64::*;

use super::tile::{add_product, load, store, zero};
use crate::backend::cpu::avx512bf16::codebook_terms;
use crate::backend::cpu::gemm::kernels::{
    BLOCK_SUM_SCRATCH, BlockSumRun, GROUP_ROWS, RowGroup, TILE_BYTES, TILE_DEPTH, TILE_WIDTH, Terms, WINDOW,
};

/// Tiles along the elements of a window.
const STEPS: usize = WINDOW / TILE_DEPTH;
/// Groups that take turns, window by window, so that the input's tiles serve all from the cache.
const TURNS: usize = 4;
/// How far ahead, in bytes, each of the first rows is fetched.
const AHEAD: usize = 512;
/// Stages from decoding a window to adding up its sums.
const DELAY: usize = 3;

/// See [`BlockSumKernels::multiply`](crate::backend::cpu::gemm::kernels::BlockSumKernels::multiply).
///
/// # Safety
/// The run is as its fields say; the thread was prepared; AVX-512 F, BW, VL, DQ, BF16, AMX-BF16.
pub(super) unsafe fn multiply(run: &BlockSumRun<'_>) {
    const ROUNDED: usize = Terms::Rounded as usize;
    const ONE: usize = Terms::OneTile as usize;
    const TWO_THEN_ONE: usize = Terms::TwoThenOne as usize;
    const TWO: usize = Terms::TwoTiles as usize;
    const THREE: usize = Terms::ThreeTiles as usize;
    // SAFETY: passed on.
    unsafe {
        match (run.terms, run.column_tiles) {
            (Terms::Rounded, 1) => groups::<ROUNDED, 1, 1>(run),
            (Terms::Rounded, _) => groups::<ROUNDED, 1, 2>(run),
            (Terms::OneTile, 1) => groups::<ONE, 3, 1>(run),
            (Terms::OneTile, _) => groups::<ONE, 3, 2>(run),
            (Terms::TwoThenOne, _) => groups::<TWO_THEN_ONE, 3, 1>(run),
            (Terms::TwoTiles, 1) => groups::<TWO, 3, 1>(run),
            (Terms::TwoTiles, _) => groups::<TWO, 3, 2>(run),
            (Terms::ThreeTiles, 1) => groups::<THREE, 3, 1>(run),
            (Terms::ThreeTiles, _) => groups::<THREE, 3, 2>(run),
        }
    }
}

/// [`Terms`] by number, since an enumeration cannot be a constant parameter.
const fn terms(kind: usize) -> Terms {
    match kind {
        0 => Terms::Rounded,
        1 => Terms::OneTile,
        2 => Terms::TwoThenOne,
        3 => Terms::TwoTiles,
        _ => Terms::ThreeTiles,
    }
}

/// A window of a group.
#[derive(Clone, Copy, Default)]
struct Position {
    group: usize,
    window: usize,
    /// The groups that take turns: the first, and how many.
    turns: (usize, usize),
}

impl Position {
    fn first(groups: usize) -> Self {
        Position { group: 0, window: 0, turns: (0, TURNS.min(groups)) }
    }

    fn next(self, groups: usize, windows: usize) -> Self {
        let (first, count) = self.turns;
        if self.group + 1 < first + count {
            return Position { group: self.group + 1, ..self };
        }
        if self.window + 1 < windows {
            return Position { group: first, window: self.window + 1, ..self };
        }
        let first = first + count;
        Position { group: first, window: 0, turns: (first, TURNS.min(groups - first)) }
    }
}

/// What happens at one time.
struct Stage<'a, const WEIGHT_TERMS: usize> {
    tables: [__m512i; WEIGHT_TERMS],
    shifts: __m512i,
    /// The group to decode, where its 32 elements each begin, from where to fetch for later.
    decode: Option<&'a RowGroup>,
    offsets: [usize; STEPS],
    ahead: *const u8,
    /// Whether these groups were not fetched before.
    first: bool,
    decoded: *mut u8,
    /// Whether to multiply, and what.
    multiply: bool,
    weights: *const u8,
    inputs: *const u8,
    /// Whether to store sums, and where.
    store: bool,
    stored: *mut u8,
    /// The group whose sums are scaled, its scales' places, the sums.
    scale: Option<&'a RowGroup>,
    scales: [usize; 2],
    sums: *const f32,
    sums_stride: usize,
}

/// # Safety
/// As [`multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn groups<const KIND: usize, const WEIGHT_TERMS: usize, const COLUMNS: usize>(run: &BlockSumRun<'_>) {
    let windows = run.elements.div_ceil(WINDOW);
    let total = windows * run.groups.len();
    // Of two column tiles all four sums are in use, and stored at once; of one, two alternate.
    let scaled_after = if COLUMNS == 1 { DELAY } else { DELAY - 1 };
    let tables = codebook_terms::<WEIGHT_TERMS>(&run.codebook);
    let shifts = _mm512_set_epi64(
        0x000c_000c_000c_000c,
        0x000c_000c_000c_000c,
        0x0008_0008_0008_0008,
        0x0008_0008_0008_0008,
        0x0004_0004_0004_0004,
        0x0004_0004_0004_0004,
        0,
        0,
    );
    // SAFETY: the sums exist.
    unsafe { clear::<COLUMNS>(run) };
    let mut positions = [Position::first(run.groups.len()); DELAY + 1];
    for stage in 0..total + scaled_after {
        let parity = stage % 2;
        let [next, current, ..] = positions;
        let old = positions[scaled_after];
        let weights = |parity: usize| run.scratch.wrapping_add(parity * STEPS * WEIGHT_TERMS * TILE_BYTES);
        let sums = |parity: usize| {
            let sums = BLOCK_SUM_SCRATCH - (2 - parity) * 2 * 2 * TILE_BYTES;
            run.scratch.wrapping_add(sums)
        };
        let decode = if stage < total { Some(&run.groups[next.group]) } else { None };
        let now = Stage::<WEIGHT_TERMS> {
            tables,
            shifts,
            decode,
            offsets: std::array::from_fn(|i| element(run, next.window, i) / 2),
            ahead: decode.map_or(std::ptr::null(), |group| fetch_scales(run, group, &next)),
            first: next.turns.0 == 0,
            decoded: weights(parity),
            multiply: (1..=total).contains(&stage),
            weights: weights(1 - parity),
            inputs: run
                .inputs
                .wrapping_add(current.window * STEPS * COLUMNS * const { terms(KIND).tiles() } * TILE_BYTES),
            store: (2..total + 2).contains(&stage),
            stored: sums(parity),
            scale: if stage >= scaled_after { Some(&run.groups[old.group]) } else { None },
            scales: [element(run, old.window, 0) >> run.shift, element(run, old.window, 2) >> run.shift],
            sums: sums(1 - parity).cast(),
            sums_stride: run.sums_stride,
        };
        // SAFETY: everything lies inside the run.
        unsafe {
            match parity {
                0 => window::<KIND, WEIGHT_TERMS, COLUMNS, false>(&now),
                _ => window::<KIND, WEIGHT_TERMS, COLUMNS, true>(&now),
            }
        }
        positions.copy_within(0..DELAY, 1);
        if stage + 1 < total {
            positions[0] = next.next(run.groups.len(), windows);
        }
    }
}

/// Where step `step` of a window begins in its row; the last one of the row, if the row ends before:
/// its product with zeros is added.
fn element(run: &BlockSumRun<'_>, window: usize, step: usize) -> usize {
    (window * WINDOW + step * TILE_DEPTH).min(run.elements - TILE_DEPTH)
}

/// Fetches scales that the next groups will need, and returns where the codes begin that should be
/// fetched meanwhile: as many as are decoded, in the order of memory, in which the processor
/// fetches them by itself once it sees a few.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
fn fetch_scales(run: &BlockSumRun<'_>, group: &RowGroup, position: &Position) -> *const u8 {
    let rows = position.turns.1 * GROUP_ROWS;
    let scales = rows * (run.elements >> run.shift) + ((position.window * GROUP_ROWS * WINDOW) >> run.shift);
    let scales = group.scales[0].wrapping_add(scales);
    _mm_prefetch::<_MM_HINT_T1>(scales.cast());
    _mm_prefetch::<_MM_HINT_T1>(scales.wrapping_add(16).cast());
    group.codes[0].wrapping_add(rows * run.row_bytes + position.window * GROUP_ROWS * WINDOW / 2)
}

/// # Safety
/// As [`multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn clear<const COLUMNS: usize>(run: &BlockSumRun<'_>) {
    for group in run.groups {
        for row in 0..COLUMNS * GROUP_ROWS {
            let sums =
                group.sums.wrapping_add(row / GROUP_ROWS * run.sums_stride + row % GROUP_ROWS * TILE_WIDTH);
            // SAFETY: the caller's contract.
            unsafe { _mm512_storeu_ps(sums, _mm512_setzero_ps()) };
        }
    }
}

/// Two by two steps of a window: first the even step of both blocks, then the odd one.
///
/// # Safety
/// As [`piece`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn window<const KIND: usize, const WEIGHT_TERMS: usize, const COLUMNS: usize, const ODD: bool>(
    stage: &Stage<'_, WEIGHT_TERMS>,
) {
    macro_rules! pieces {
        ($half:literal: $($product:literal)*) => {
            $(if $product < const { terms(KIND).products().len() } {
                piece::<KIND, WEIGHT_TERMS, COLUMNS, ODD, $half, $product, false>(stage);
                piece::<KIND, WEIGHT_TERMS, COLUMNS, ODD, $half, $product, true>(stage);
            })*
        };
    }
    // SAFETY: passed on.
    unsafe {
        pieces!(0: 0 1 2 3 4 5);
        pieces!(1: 0 1 2 3 4 5);
    }
}

/// One product of a step, of the second block if `SECOND`, and the share of rows to be decoded and
/// scaled.
///
/// # Safety
/// The stage is as its fields say; AVX-512 F, BW, VL, DQ, BF16, AMX-BF16, prepared.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn piece<
    const KIND: usize,
    const WEIGHT_TERMS: usize,
    const COLUMNS: usize,
    const ODD: bool,
    const HALF: usize,
    const PRODUCT: usize,
    const SECOND: bool,
>(
    stage: &Stage<'_, WEIGHT_TERMS>,
) {
    let last = const { PRODUCT + 1 == terms(KIND).products().len() };
    // SAFETY: passed on.
    unsafe {
        if stage.multiply {
            product::<KIND, WEIGHT_TERMS, COLUMNS, ODD, HALF, PRODUCT, SECOND>(stage);
        }
        if COLUMNS == 1 && HALF == 0 && last && stage.store {
            let stored = stage.stored.wrapping_add(SECOND as usize * TILE_BYTES);
            // Those of the window before, which has the other parity.
            match (ODD, SECOND) {
                (true, false) => store::<0>(stored),
                (true, true) => store::<1>(stored),
                (false, false) => store::<2>(stored),
                (false, true) => store::<3>(stored),
            }
        }
        let (from, to) = const {
            let (pieces, index) = (4 * terms(KIND).products().len(), 2 * PRODUCT + SECOND as usize);
            let index = HALF * pieces / 2 + index;
            (GROUP_ROWS * index / pieces, GROUP_ROWS * (index + 1) / pieces)
        };
        for row in from..to {
            decode(stage, row);
        }
        for row in from..to {
            scale::<WEIGHT_TERMS, COLUMNS>(stage, row);
        }
    }
}

/// # Safety
/// As [`piece`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn product<
    const KIND: usize,
    const WEIGHT_TERMS: usize,
    const COLUMNS: usize,
    const ODD: bool,
    const HALF: usize,
    const PRODUCT: usize,
    const SECOND: bool,
>(
    stage: &Stage<'_, WEIGHT_TERMS>,
) {
    let products = const { terms(KIND).products() };
    let tiles = const { terms(KIND).tiles() };
    let (term, input) = const { at(terms(KIND).products(), PRODUCT) };
    let before = if PRODUCT == 0 { None } else { Some(products[PRODUCT.min(products.len()) - 1]) };
    let step = const { HALF + 2 * SECOND as usize };
    let weight = stage.weights.wrapping_add((step * WEIGHT_TERMS + term) * TILE_BYTES);
    let inputs = stage.inputs.wrapping_add((step * COLUMNS * tiles + input) * TILE_BYTES);
    let first = HALF == 0 && PRODUCT == 0;
    // SAFETY: passed on.
    unsafe {
        if before.is_none_or(|b| b.0 != term) {
            if SECOND { load::<5>(weight) } else { load::<4>(weight) }
        }
        if COLUMNS == 1 {
            match (first, ODD, SECOND) {
                (true, false, false) => zero::<0>(),
                (true, false, true) => zero::<1>(),
                (true, true, false) => zero::<2>(),
                (true, true, true) => zero::<3>(),
                _ => {}
            }
            if before.is_none_or(|b| b.1 != input) {
                if SECOND { load::<7>(inputs) } else { load::<6>(inputs) }
            }
            match (ODD, SECOND) {
                (false, false) => add_product::<0, false, false>(),
                (false, true) => add_product::<1, true, true>(),
                (true, false) => add_product::<2, false, false>(),
                (true, true) => add_product::<3, true, true>(),
            }
            return;
        }
        let last = HALF == 1 && PRODUCT + 1 == products.len();
        load::<6>(inputs);
        load::<7>(inputs.wrapping_add(tiles * TILE_BYTES));
        let stored = stage.stored.wrapping_add(SECOND as usize * 2 * TILE_BYTES);
        if SECOND {
            two_columns::<2, 3, true>(first, last, stored);
        } else {
            two_columns::<0, 1, false>(first, last, stored);
        }
    }
}

/// The product with two tiles of input columns, cleared first, stored at last.
///
/// # Safety
/// As [`piece`].
#[inline(always)]
unsafe fn two_columns<const LEFT: u8, const RIGHT: u8, const SECOND: bool>(
    first: bool,
    last: bool,
    out: *mut u8,
) {
    // SAFETY: passed on.
    unsafe {
        if first {
            zero::<LEFT>();
            zero::<RIGHT>();
        }
        add_product::<LEFT, SECOND, false>();
        add_product::<RIGHT, SECOND, true>();
        if last {
            store::<LEFT>(out);
            store::<RIGHT>(out.wrapping_add(TILE_BYTES));
        }
    }
}

/// A product of a list; those beyond its end are never computed.
const fn at(products: &[(usize, usize)], index: usize) -> (usize, usize) {
    products[if index < products.len() { index } else { 0 }]
}

/// Decodes a row of the stage's group.
///
/// # Safety
/// As [`piece`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn decode<const WEIGHT_TERMS: usize>(stage: &Stage<'_, WEIGHT_TERMS>, row: usize) {
    let Some(group) = stage.decode else { return };
    _mm_prefetch::<_MM_HINT_T1>(stage.ahead.wrapping_add(row * WINDOW / 2).cast());
    if stage.first {
        _mm_prefetch::<_MM_HINT_T1>(group.codes[row].wrapping_add(stage.offsets[0] + AHEAD).cast());
    }
    for step in 0..STEPS {
        // SAFETY: the step lies inside the row, the tiles inside the scratch.
        unsafe {
            let codes = four_times(group.codes[row].wrapping_add(stage.offsets[step]));
            let indices = _mm512_srlv_epi16(codes, stage.shifts);
            for (term, table) in stage.tables.iter().enumerate() {
                let tile = stage.decoded.wrapping_add((step * WEIGHT_TERMS + term) * TILE_BYTES + row * 64);
                _mm512_storeu_si512(tile.cast(), _mm512_permutexvar_epi16(indices, *table));
            }
        }
    }
}

/// Scales the sums of a row and adds them up.
///
/// # Safety
/// As [`piece`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn scale<const WEIGHT_TERMS: usize, const COLUMNS: usize>(
    stage: &Stage<'_, WEIGHT_TERMS>,
    row: usize,
) {
    let Some(group) = stage.scale else { return };
    // SAFETY: the scales and the sums exist.
    unsafe {
        let first = _mm512_set1_ps(*group.scales[row].add(stage.scales[0]));
        let second = _mm512_set1_ps(*group.scales[row].add(stage.scales[1]));
        for column in 0..COLUMNS {
            let total = group.sums.add(column * stage.sums_stride + row * TILE_WIDTH);
            let sums = stage.sums.add((column * GROUP_ROWS + row) * TILE_WIDTH);
            let other = sums.add(COLUMNS * GROUP_ROWS * TILE_WIDTH);
            let sum = _mm512_fmadd_ps(_mm512_loadu_ps(sums), first, _mm512_loadu_ps(total));
            _mm512_storeu_ps(total, _mm512_fmadd_ps(_mm512_loadu_ps(other), second, sum));
        }
    }
}

/// 16 bytes in all quarters of a vector.
///
/// # Safety
/// The bytes exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn four_times(source: *const u8) -> __m512i {
    let bytes;
    // The intrinsic may become a load and a shuffle, which competes with `vpermw` for its port.
    // SAFETY: reads 16 bytes.
    unsafe {
        asm!("vbroadcasti32x4 {}, [{}]", out(zmm_reg) bytes, in(reg) source,
             options(pure, readonly, nostack, preserves_flags));
    }
    bytes
}
