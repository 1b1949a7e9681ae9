//! Codes and absmax values: are they spread as they should be?

use fourbit::codebook::{Decision, Rule};

use super::charts::{Bar, bars, figure, legend};
use super::facts::{Distribution, Facts};
use super::format::{grouped, percent};
use super::histogram::Bin;
use super::markup::Markup;
use super::normal::expected_shares;

/// Bars of the histogram of absmax values, and labels below it.
const BINS: usize = 40;
const LABELS: usize = 6;

pub(super) fn section(m: &mut Markup, facts: &Facts) {
    if facts.distributions.is_empty() {
        return;
    }
    m.element("section", &[("id", &"codes")], |m| {
        m.leaf("h2", &[], "Codes and absmax");
        for distribution in &facts.distributions {
            m.element("div", &[("class", &"pair")], |m| {
                codes(m, distribution);
                absmax(m, distribution);
            });
            code_table(m, distribution);
        }
    });
}

fn name(d: &Distribution) -> String {
    format!("{}, blocks of {}", d.quant_type.name(), d.block_size)
}

/// Codes in the order of what they stand for, +0 before -0 as the quantizer sorts them.
fn order(d: &Distribution) -> [u8; 16] {
    Decision::of(d.quant_type, Rule::BnbCpu).codes
}

fn codes(m: &mut Markup, d: &Distribution) {
    let total = d.codes.iter().sum::<u64>() as f64;
    let expected = expected_shares(d.quant_type, d.block_size);
    let bar = |(i, code): (usize, &u8)| {
        let code = usize::from(*code);
        let share = d.codes[code] as f64 / total.max(1.0);
        let value = d.quant_type.codebook()[code];
        Bar {
            value: share,
            mark: Some(expected[code]),
            label: if i.is_multiple_of(3) { format!("{value:.2}") } else { String::new() },
            title: format!(
                "code {code}, {value:.4} of absmax: {} of the elements; normally distributed ones: {}",
                percent(share, 1.0),
                percent(expected[code], 1.0)
            ),
        }
    };
    let chart: Vec<Bar> = order(d).iter().enumerate().map(bar).collect();
    let caption =
        format!("Codes ({}): share of the elements by what a code stands for, in units of absmax", name(d));
    figure(m, &caption, |m| {
        bars(m, &format!("Shares of the 16 codes, {}", name(d)), &chart);
        let measured = format!("these {} weights, {} elements", grouped(d.weights), grouped(total as u64));
        legend(
            m,
            &[("s0", measured), ("line-mark", "what normally distributed elements would give".to_owned())],
        );
    });
}

fn absmax(m: &mut Markup, d: &Distribution) {
    let bins = d.absmax.bins(BINS);
    let counted = d.absmax.counted() as f64;
    let every = bins.len().div_ceil(LABELS).max(1);
    let bar = |(i, bin): (usize, &Bin)| Bar {
        value: bin.count as f64 / counted.max(1.0),
        mark: None,
        label: if i.is_multiple_of(every) { short_number(bin.from) } else { String::new() },
        title: format!("{:.4e} to {:.4e}: {} blocks", bin.from, bin.to, grouped(bin.count)),
    };
    let chart: Vec<Bar> = bins.iter().enumerate().map(bar).collect();
    let caption =
        format!("Absmax ({}): share of the blocks by their absmax, on a logarithmic scale", name(d));
    figure(m, &caption, |m| {
        bars(m, &format!("Histogram of absmax values, {}", name(d)), &chart);
        let mut words =
            format!("{} blocks", grouped(d.absmax.counted() + d.absmax.zeros + d.absmax.not_finite));
        if d.absmax.zeros > 0 {
            words += &format!(", {} of them of nothing but zeros", grouped(d.absmax.zeros));
        }
        if d.absmax.not_finite > 0 {
            words += &format!(", {} not finite", grouped(d.absmax.not_finite));
        }
        legend(m, &[("s0", words)]);
    });
}

fn short_number(value: f64) -> String {
    match value {
        v if (0.001..1000.0).contains(&v) => {
            let digits = (1.0 - v.log10().floor()).max(0.0) as usize;
            format!("{v:.digits$}")
        }
        v => format!("{v:.1e}"),
    }
}

fn code_table(m: &mut Markup, d: &Distribution) {
    let total = d.codes.iter().sum::<u64>() as f64;
    let expected = expected_shares(d.quant_type, d.block_size);
    let row = |code: &u8| {
        let code = usize::from(*code);
        vec![
            code.to_string(),
            format!("{:.6}", d.quant_type.codebook()[code]),
            grouped(d.codes[code]),
            percent(d.codes[code] as f64, total),
            percent(expected[code], 1.0),
        ]
    };
    let rows: Vec<Vec<String>> = order(d).iter().map(row).collect();
    m.element("details", &[], |m| {
        m.leaf("summary", &[], format!("The 16 codes in numbers ({})", name(d)));
        let header = ["code", "value", "elements", "share", "if normal"];
        m.table(&format!("Codes, {}", name(d)), &header, &[0, 1, 2, 3, 4], &rows);
    });
}
