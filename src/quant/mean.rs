//! `torch.mean` of a float32 vector on one CPU thread, bit for bit: it becomes `nested_offset`.
//!
//! The sum is ATen's cascade sum: vectors of eight lanes, four interleaved rows of them, and four
//! levels of accumulators so that no accumulator adds more than a short run of values.

const LANES: usize = 8;
const INTERLEAVED: usize = 4;
const LEVELS: usize = 4;

/// `L` lanes of each of the four interleaved rows.
type Row<const L: usize> = [[f32; L]; INTERLEAVED];

/// The mean; NaN for no values.
pub fn torch_mean(values: &[f32]) -> f32 {
    cascade_sum(values) / values.len() as f32
}

fn cascade_sum(values: &[f32]) -> f32 {
    if values.len() < LANES {
        // Too short for a vector: the same scheme over single values.
        return sum_vectors(values.as_chunks::<1>().0)[0];
    }
    let (vectors, tail) = values.as_chunks::<LANES>();
    let lanes = sum_vectors(vectors);
    tail.iter().chain(&lanes).fold(0.0, |sum, v| sum + v)
}

fn sum_vectors<const L: usize>(vectors: &[[f32; L]]) -> [f32; L] {
    let (rows, rest) = vectors.as_chunks::<INTERLEAVED>();
    let [mut sum, parts @ ..] = sum_rows(rows);
    for vector in rest.iter().chain(&parts) {
        add(&mut sum, vector);
    }
    sum
}

fn sum_rows<const L: usize>(rows: &[Row<L>]) -> Row<L> {
    let level_power = (ceil_log2(rows.len()) / LEVELS).max(4);
    let step = 1usize << level_power;
    let mut levels: [Row<L>; LEVELS] = [[[0.0; L]; INTERLEAVED]; LEVELS];
    let mut done = 0;
    while done + step <= rows.len() {
        for row in &rows[done..done + step] {
            add_row(&mut levels[0], row);
        }
        done += step;
        for level in 1..LEVELS {
            let lower = std::mem::replace(&mut levels[level - 1], [[0.0; L]; INTERLEAVED]);
            add_row(&mut levels[level], &lower);
            if done & ((step - 1) << (level * level_power)) != 0 {
                break;
            }
        }
    }
    for row in &rows[done..] {
        add_row(&mut levels[0], row);
    }
    let [mut sum, rest @ ..] = levels;
    for level in &rest {
        add_row(&mut sum, level);
    }
    sum
}

fn add_row<const L: usize>(sum: &mut Row<L>, row: &Row<L>) {
    for (s, v) in sum.iter_mut().zip(row) {
        add(s, v);
    }
}

fn add<const L: usize>(sum: &mut [f32; L], values: &[f32; L]) {
    for (s, v) in sum.iter_mut().zip(values) {
        *s += v;
    }
}

/// As ATen counts: at least 1.
fn ceil_log2(n: usize) -> usize {
    if n <= 2 { 1 } else { (n - 1).ilog2() as usize + 1 }
}
