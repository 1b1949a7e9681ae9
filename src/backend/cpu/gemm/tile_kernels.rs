//! What an arm with tiles must provide besides.

use crate::backend::GemmJob;

/// Elements of a tile along the sum.
pub(crate) const TILE_DEPTH: usize = 32;
/// Tiles along the sum that are packed, decoded and multiplied together.
pub(crate) const TILE_STEPS: usize = 8;
/// Input rows, or output columns, of a tile.
pub(crate) const TILE_WIDTH: usize = 16;
/// Bytes of a tile.
pub(crate) const TILE_BYTES: usize = TILE_WIDTH * TILE_DEPTH * 2;
/// Weight tiles side by side in a panel.
pub(crate) const PANEL_TILES: usize = 4;
/// Bytes of the [`TILE_STEPS`] tiles of one row or column of tiles.
pub(crate) const STRIP_BYTES: usize = TILE_STEPS * TILE_BYTES;

/// Products of `bf16` tiles, summed in `f32`.
///
/// The left operand of a tile product holds 16 rows of 32 elements, the right one 16 columns, with
/// the elements `2 p` and `2 p + 1` of all columns side by side in row `p`. Forward, weights are on
/// the left (their rows have the right order as stored) and the sums come out transposed; in the
/// transposed product the input is on the left and pairs of weight rows are interleaved.
///
/// An operand may be given as the sum of two `bf16` terms, each with a strip of tiles of its own.
pub(crate) struct TileKernels {
    /// Prepares this thread, before the other functions but `pack`.
    pub(crate) begin: unsafe fn(),
    /// The last call, if the thread was prepared.
    pub(crate) end: unsafe fn(),
    /// Packs a strip of the input.
    pub(crate) pack: unsafe fn(&StripPack),
    /// Decodes [`PANEL_TILES`] strips of the weight, forward.
    pub(crate) decode: unsafe fn(&PanelDecode),
    /// The same for the transposed product.
    pub(crate) decode_pairs: unsafe fn(&PairDecode),
    /// Multiplies a panel with strips of the input.
    pub(crate) multiply: unsafe fn(&PanelProduct),
    /// Puts the sums of a panel and one input strip into rows.
    pub(crate) collect: unsafe fn(&Collect),
}

/// In which order elements stand in a tile, and how scales change along them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TileOrder {
    /// As decoding yields them; one scale per 64 elements.
    By64,
    /// As decoding yields them; one scale per 32 elements.
    By32,
    /// Their own order; anything goes.
    Natural,
}

/// Up to 16 input rows by up to 256 terms.
pub(crate) struct StripPack<'a> {
    pub(crate) job: &'a GemmJob,
    /// The first input row.
    pub(crate) row: usize,
    /// How many; others become zeros.
    pub(crate) rows: usize,
    /// The first term.
    pub(crate) start: usize,
    /// How many; others become zeros.
    pub(crate) count: usize,
    pub(crate) order: TileOrder,
    /// Strips: 1, or 2 whose sum is the input.
    pub(crate) terms: usize,
    pub(crate) out: *mut u8,
}

/// Up to 64 output columns by up to 256 terms, a multiple of 64 of them unless they are the last.
pub(crate) struct PanelDecode<'a> {
    pub(crate) job: &'a GemmJob,
    /// The first output column.
    pub(crate) column: usize,
    /// How many; others get any values.
    pub(crate) columns: usize,
    /// The first term, a multiple of 64.
    pub(crate) start: usize,
    /// How many; others, up to a multiple of 64, get finite values if the scales are finite.
    pub(crate) count: usize,
    pub(crate) order: TileOrder,
    /// Strips per tile column: 1, or 2 whose sum is the weight.
    pub(crate) terms: usize,
    /// The first tile of the first strip.
    pub(crate) out: *mut u8,
    /// How many elements further on codes and scales should be fetched for later.
    pub(crate) ahead: usize,
}

/// Up to 256 weight rows, pairs of which are interleaved, by up to 64 columns.
pub(crate) struct PairDecode<'a> {
    pub(crate) job: &'a GemmJob,
    /// The first weight row.
    pub(crate) row: usize,
    /// How many; others, up to a multiple of 64, become zeros.
    pub(crate) rows: usize,
    /// The first column, a multiple of 64.
    pub(crate) column: usize,
    /// How many; others get any values.
    pub(crate) columns: usize,
    pub(crate) order: TileOrder,
    /// Strips per tile column: 1, or 2 whose sum is the weight.
    pub(crate) terms: usize,
    /// The first tile of the first strip.
    pub(crate) out: *mut u8,
    /// How many elements further on scales should be fetched for later.
    pub(crate) scales_ahead: usize,
    /// Codes that should be fetched for later, a line per pair of rows.
    pub(crate) fetch: Fetch,
}

/// Lines to be fetched: runs of them, one in each of several rows.
#[derive(Clone, Copy)]
pub(crate) struct Fetch {
    pub(crate) next: *const u8,
    /// Lines left in this row, at least 1.
    pub(crate) left: usize,
    /// Lines in a whole run.
    pub(crate) lines: usize,
    /// Bytes from the end of a run to the start of the next; may wrap.
    pub(crate) skip: usize,
}

/// Where the sums of a product are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sums {
    /// Nowhere: they start at zero.
    Zero,
    /// In memory.
    Memory,
    /// Where the last product left them. Only if all fit: one input tile and [`PANEL_TILES`] weight
    /// tiles, or two of each.
    Registers,
}

/// A panel times input strips.
pub(crate) struct PanelProduct {
    /// `[weight_tiles][terms]` strips, from the first tile to use on.
    pub(crate) weights: *const u8,
    /// 2, or [`PANEL_TILES`].
    pub(crate) weight_tiles: usize,
    /// `[input_tiles][terms]` strips, from the first tile to use on.
    pub(crate) inputs: *const u8,
    pub(crate) input_tiles: usize,
    pub(crate) terms: usize,
    /// Tiles of a strip to use.
    pub(crate) steps: usize,
    /// `[input_tiles][PANEL_TILES]` tiles of sums.
    pub(crate) sums: *mut f32,
    /// Where the sums are before.
    pub(crate) before: Sums,
    /// Where they shall be after: in registers or in memory.
    pub(crate) after: Sums,
    pub(crate) transpose: bool,
}

/// The sums of one input strip to be put into rows.
pub(crate) struct Collect {
    /// [`PANEL_TILES`] tiles.
    pub(crate) sums: *const f32,
    pub(crate) order: TileOrder,
    pub(crate) transpose: bool,
    /// 16 rows of 64 elements.
    pub(crate) out: *mut f32,
}

/// Products of unscaled codebook values in tiles. What a tile product adds up belongs to one block
/// of each weight row, so that scaling comes afterwards, in `f32`.
///
/// Values and input are sums of `bf16` terms; the products of terms are added in the same tile.
pub(crate) struct BlockSumKernels {
    /// Prepares this thread, before `multiply`.
    pub(crate) begin: unsafe fn(),
    /// The last call, if the thread was prepared.
    pub(crate) end: unsafe fn(),
    /// Whether all elements of an input row are zero or of a magnitude whose terms are exact.
    pub(crate) ordinary: unsafe fn(job: &GemmJob, row: usize) -> bool,
    /// Packs a part of the input.
    pub(crate) pack: unsafe fn(&BlockSumPack),
    /// Multiplies groups of 16 weight rows with the input.
    pub(crate) multiply: unsafe fn(&BlockSumRun),
    /// See [`TileKernels::collect`].
    pub(crate) collect: unsafe fn(&Collect),
}

/// Which terms are multiplied. Weight terms are those of codebook values, most significant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terms {
    /// Codebook values rounded to one term; input of one term.
    Rounded,
    /// Three weight terms; a tile with all input terms, in columns of their own.
    OneTile,
    /// Three weight terms; a tile with the first two input terms, another with the third.
    TwoThenOne,
    /// Three weight terms; a tile for each of two input terms.
    TwoTiles,
    /// Three weight terms; a tile for each of three input terms.
    ThreeTiles,
}

impl Terms {
    /// Input tiles per 32 elements and 16 columns.
    pub(crate) const fn tiles(self) -> usize {
        match self {
            Terms::Rounded | Terms::OneTile => 1,
            Terms::TwoThenOne | Terms::TwoTiles => 2,
            Terms::ThreeTiles => 3,
        }
    }

    /// The products of weight terms and input tiles, small ones first. Of three by three terms,
    /// those are left out that are below 2⁻²⁵ of the whole.
    pub(crate) const fn products(self) -> &'static [(usize, usize)] {
        match self {
            Terms::Rounded => &[(0, 0)],
            Terms::OneTile => &[(2, 0), (1, 0), (0, 0)],
            Terms::TwoThenOne => &[(2, 0), (1, 0), (0, 0), (0, 1)],
            Terms::TwoTiles => &[(2, 0), (1, 0), (1, 1), (0, 1), (0, 0)],
            Terms::ThreeTiles => &[(2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0)],
        }
    }
}

/// Weight rows of a group.
pub(crate) const GROUP_ROWS: usize = TILE_WIDTH;
/// Elements of every row per stage of the computation; input is padded with zeros to a multiple.
pub(crate) const WINDOW: usize = 128;

/// A run of elements of all input rows.
pub(crate) struct BlockSumPack<'a> {
    /// Up to 32 rows; up to 16 if tiles hold several terms.
    pub(crate) job: &'a GemmJob,
    /// The first element, a multiple of [`WINDOW`].
    pub(crate) start: usize,
    /// How many, a multiple of 32; zeros follow up to a multiple of [`WINDOW`].
    pub(crate) count: usize,
    /// Input terms.
    pub(crate) terms: usize,
    /// How many terms share a tile; term `i` stands in column `i * rows + row` then.
    pub(crate) terms_per_tile: usize,
    /// `[32 elements][16 rows][tile]` tiles.
    pub(crate) out: *mut u8,
}

/// 16 weight rows.
pub(crate) struct RowGroup {
    /// Where the codes of each row begin.
    pub(crate) codes: [*const u8; GROUP_ROWS],
    /// The scales of each row.
    pub(crate) scales: [*const f32; GROUP_ROWS],
    /// `[row][input column]`: where the sums of the first 16 input columns go, aligned to a cache
    /// line.
    pub(crate) sums: *mut f32,
}

/// Groups of weight rows times packed input.
pub(crate) struct BlockSumRun<'a> {
    pub(crate) groups: &'a [RowGroup],
    /// Bytes of codes from one row to the next in the first group; for fetching ahead.
    pub(crate) row_bytes: usize,
    /// log2 of the elements per scale, at least 6.
    pub(crate) shift: u32,
    /// Elements per row, a multiple of 64.
    pub(crate) elements: usize,
    pub(crate) codebook: [f32; 16],
    pub(crate) terms: Terms,
    /// What [`BlockSumKernels::pack`] wrote.
    pub(crate) inputs: *const u8,
    /// Tiles of 16 input columns: 1 or 2.
    pub(crate) column_tiles: usize,
    /// `f32` elements from the sums of the first 16 columns to those of the next 16.
    pub(crate) sums_stride: usize,
    /// [`BLOCK_SUM_SCRATCH`] bytes, aligned to a cache line.
    pub(crate) scratch: *mut u8,
}

/// Scratch bytes of [`BlockSumKernels::multiply`]: decoded weights of two windows, in three terms,
/// and tiles of sums.
pub(crate) const BLOCK_SUM_SCRATCH: usize = (2 * 4 * 3 + 2 * 2 * 2) * TILE_BYTES;
