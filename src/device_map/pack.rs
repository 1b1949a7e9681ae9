//! Packing sizes in order into bins of given room. Every function is deterministic and takes no more
//! than (sizes + bins) times (bins) steps, but for logarithms.

/// The bin of each size.
pub(super) type Packing = Vec<usize>;

/// Steps of a bin's room in which evenness is looked for.
const STEPS: u32 = 4096;

/// Packs runs of neighbours, one run per bin, so that the bin that is filled most (as a share of its
/// room) is filled least. `None` if runs cannot do it.
pub(super) fn even_runs(sizes: &[f64], room: &[f64]) -> Option<Packing> {
    let order = orders(room).into_iter().find(|order| runs(sizes, room, order, STEPS).is_some())?;
    let (mut too_low, mut enough) = (0, STEPS);
    while enough - too_low > 1 {
        let middle = too_low + (enough - too_low) / 2;
        match runs(sizes, room, &order, middle) {
            Some(_) => enough = middle,
            None => too_low = middle,
        }
    }
    runs(sizes, room, &order, enough)
}

/// Orders in which to fill the bins: as they come, starting at each of them, the roomiest first.
fn orders(room: &[f64]) -> Vec<Vec<usize>> {
    let mut descending: Vec<usize> = (0..room.len()).collect();
    let rotated = |by: usize| (by..room.len()).chain(0..by).collect();
    let mut orders: Vec<Vec<usize>> = (0..room.len()).map(rotated).collect();
    descending.sort_by(|a, b| room[*b].total_cmp(&room[*a]));
    orders.push(descending);
    orders
}

/// Fills bin after bin to so many steps of its room. Taking as much as will go into each bin is the best
/// that runs can do in a given order.
fn runs(sizes: &[f64], room: &[f64], order: &[usize], steps: u32) -> Option<Packing> {
    let limit = |bin: usize| room[bin] * (f64::from(steps) / f64::from(STEPS));
    let mut bins = order.iter().copied();
    let mut bin = bins.next()?;
    let mut used = 0.0;
    let mut packing = Vec::with_capacity(sizes.len());
    for size in sizes {
        while used + size > limit(bin) {
            bin = bins.next()?;
            used = 0.0;
        }
        used += size;
        packing.push(bin);
    }
    Some(packing)
}

/// Packs in order, each size behind the last one if it fits there, else into a later bin, else into an
/// earlier one that still has room. What fits nowhere gets the number of bins.
pub(super) fn look_back(sizes: &[f64], room: &[f64]) -> Packing {
    let mut free = room.to_vec();
    let mut current = 0;
    let mut packing = Vec::with_capacity(sizes.len());
    for size in sizes {
        let fits = |bin: &usize| free[*bin] >= *size;
        let bin = (current..free.len()).find(fits).or_else(|| (0..current).find(fits));
        if let Some(bin) = bin {
            free[bin] -= size;
            current = current.max(bin);
        }
        packing.push(bin.unwrap_or(room.len()));
    }
    packing
}

/// Packs the largest first, each into the bin that it fills best, whatever that does to the order.
/// `None` if something fits nowhere.
pub(super) fn tight(sizes: &[f64], room: &[f64]) -> Option<Packing> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|a, b| sizes[*b].total_cmp(&sizes[*a]));
    let mut free = room.to_vec();
    let mut packing = vec![0; sizes.len()];
    for i in order {
        let fitting = (0..free.len()).filter(|bin| free[*bin] >= sizes[i]);
        let bin = fitting.min_by(|a, b| free[*a].total_cmp(&free[*b]))?;
        free[bin] -= sizes[i];
        packing[i] = bin;
    }
    Some(packing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_even_shares_of_the_room() {
        assert_eq!(even_runs(&[1.0; 6], &[10.0, 10.0]).unwrap(), [0, 0, 0, 1, 1, 1]);
        assert_eq!(even_runs(&[1.0; 6], &[5.0, 10.0]).unwrap(), [0, 0, 1, 1, 1, 1]);
        assert_eq!(even_runs(&[4.0, 1.0, 1.0, 1.0, 1.0], &[10.0, 10.0]).unwrap(), [0, 1, 1, 1, 1]);
        assert_eq!(even_runs(&[3.0, 1.0], &[1.0, 3.0]).unwrap(), [1, 0], "starting at another bin");
        assert_eq!(even_runs(&[2.0; 4], &[3.0, 3.0]), None);
        assert_eq!(even_runs(&[1.0], &[]), None);
    }

    #[test]
    fn earlier_bins_are_remembered() {
        // The third thing goes on to bin 1, the fourth fits only behind the first two.
        assert_eq!(look_back(&[2.0, 2.0, 4.0, 1.0, 1.0, 1.0], &[5.0, 5.0]), [0, 0, 1, 1, 0, 2]);
        assert_eq!(look_back(&[1.0], &[]), [0]);
    }

    #[test]
    fn tight_packing_gives_up_the_order() {
        let (sizes, room) = ([3.0, 3.0, 5.0, 1.0], [6.0, 6.0]);
        assert!(look_back(&sizes, &room).iter().all(|bin| *bin < 2));
        let (sizes, room) = ([2.0, 3.0, 4.0, 3.0], [6.0, 6.0]);
        assert!(look_back(&sizes, &room).contains(&2));
        assert_eq!(tight(&sizes, &room).unwrap(), [0, 1, 0, 1]);
        assert_eq!(tight(&[7.0], &room), None);
    }
}
