//! Places of boxes in layers, inputs below: layers by the longest path, few crossings by
//! barycenters, and places that are as near to neighbours as boxes that do not overlap can be.

/// Space between boxes of a layer.
const GAP: f64 = 26.0;
/// Space between layers.
const RISE: f64 = 46.0;
/// Sweeps for order and for places: more change nothing in graphs of models.
const SWEEPS: usize = 24;
/// Width of the place where an edge passes a layer.
const LANE: f64 = 14.0;

/// Where everything is drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlacedBoxes {
    pub width: f64,
    pub height: f64,
    /// The upper left corner of each box.
    pub corners: Vec<(f64, f64)>,
    /// By edge, its points from the upper side of the box that it leaves to the lower side of the
    /// one that it enters.
    pub routes: Vec<Vec<(f64, f64)>>,
}

/// A box, or a place where an edge passes a layer.
#[derive(Clone, Copy, Debug)]
struct Slot {
    layer: usize,
    width: f64,
    center: f64,
}

/// Lays out boxes of some sizes. `edges` lead from a box to one of a greater index, or are left
/// out: an expression reads only what stands before it.
pub(super) fn layout(sizes: &[(f64, f64)], edges: &[(usize, usize)]) -> PlacedBoxes {
    let layer_of = layers(sizes.len(), edges);
    let layer_count = layer_of.iter().max().map_or(0, |&most| most + 1);
    let mut slots: Vec<Slot> =
        sizes.iter().zip(&layer_of).map(|(&(width, _), &layer)| Slot { layer, width, center: 0.0 }).collect();
    // Edges between neighbouring layers, and the slots of each whole edge.
    let (mut links, mut chains) = (Vec::new(), Vec::new());
    for &(from, to) in edges {
        let mut chain = vec![from];
        for layer in layer_of[from] + 1..layer_of[to] {
            chain.push(slots.len());
            slots.push(Slot { layer, width: LANE, center: 0.0 });
        }
        chain.push(to);
        links.extend(chain.windows(2).map(|pair| (pair[0], pair[1])));
        chains.push(chain);
    }
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); layer_count];
    (0..slots.len()).for_each(|slot| rows[slots[slot].layer].push(slot));
    let neighbours = Neighbours::new(slots.len(), &links);
    order(&mut rows, &neighbours, &links);
    place(&mut slots, &rows, &neighbours);
    let left = slots.iter().map(|slot| slot.center - slot.width / 2.0).fold(f64::INFINITY, f64::min);
    slots.iter_mut().for_each(|slot| slot.center -= left);
    let width = slots.iter().map(|slot| slot.center + slot.width / 2.0).fold(0.0, f64::max);
    let heights: Vec<f64> = rows
        .iter()
        .map(|row| row.iter().filter_map(|&slot| sizes.get(slot)).map(|&(_, height)| height).fold(0.0, f64::max))
        .collect();
    let height = heights.iter().sum::<f64>() + RISE * layer_count.saturating_sub(1) as f64;
    // The upper side of each layer; the first one is at the bottom.
    let mut tops = Vec::with_capacity(layer_count);
    let mut at = height;
    for &tall in &heights {
        tops.push(at - tall);
        at -= tall + RISE;
    }
    let top_of = |slot: usize| tops[layer_of[slot]] + (heights[layer_of[slot]] - sizes[slot].1) / 2.0;
    let corners = (0..sizes.len()).map(|k| (slots[k].center - sizes[k].0 / 2.0, top_of(k))).collect();
    let ports = Ports::new(sizes, &slots, &chains);
    let routes = chains
        .iter()
        .enumerate()
        .map(|(edge, chain)| {
            let (from, to) = (chain[0], chain[chain.len() - 1]);
            let mut points = vec![(ports.leaving[edge], top_of(from))];
            for &passed in &chain[1..chain.len() - 1] {
                let layer = slots[passed].layer;
                points.push((slots[passed].center, tops[layer] + heights[layer]));
                points.push((slots[passed].center, tops[layer]));
            }
            points.push((ports.entering[edge], top_of(to) + sizes[to].1));
            points
        })
        .collect();
    PlacedBoxes { width, height, corners, routes }
}

/// The longest path to each box; what nothing comes into is raised to just below what reads it.
fn layers(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut layers = vec![0usize; count];
    for to in 0..count {
        let below = edges.iter().filter(|edge| edge.1 == to).map(|edge| layers[edge.0] + 1);
        layers[to] = below.max().unwrap_or(0);
    }
    for from in 0..count {
        let is_input = edges.iter().all(|edge| edge.1 != from);
        let above = edges.iter().filter(|edge| edge.0 == from).map(|edge| layers[edge.1]).min();
        if let Some(above) = above.filter(|_| is_input) {
            layers[from] = above.saturating_sub(1);
        }
    }
    layers
}

/// The slots below and above each one.
struct Neighbours {
    below: Vec<Vec<usize>>,
    above: Vec<Vec<usize>>,
}

impl Neighbours {
    fn new(count: usize, links: &[(usize, usize)]) -> Self {
        let (mut below, mut above) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for &(from, to) in links {
            above[from].push(to);
            below[to].push(from);
        }
        Self { below, above }
    }
}

/// Orders rows so that few links cross.
fn order(rows: &mut Vec<Vec<usize>>, neighbours: &Neighbours, links: &[(usize, usize)]) {
    let mut best = (crossings(rows, links), rows.clone());
    for sweep in 0..SWEEPS {
        let upwards = sweep % 2 == 0;
        let known = if upwards { &neighbours.below } else { &neighbours.above };
        let indices: Vec<usize> = if upwards { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
        for index in indices {
            let ranks = ranks(rows, known.len());
            let mean = |slot: usize| {
                let near = &known[slot];
                match near.is_empty() {
                    true => ranks[slot],
                    false => near.iter().map(|&n| ranks[n]).sum::<f64>() / near.len() as f64,
                }
            };
            rows[index].sort_by(|&a, &b| mean(a).total_cmp(&mean(b)));
        }
        let found = crossings(rows, links);
        if found < best.0 {
            best = (found, rows.clone());
        }
    }
    *rows = best.1;
}

/// The place of each slot in its row, from 0 to 1.
fn ranks(rows: &[Vec<usize>], count: usize) -> Vec<f64> {
    let mut ranks = vec![0.0; count];
    for row in rows {
        for (k, &slot) in row.iter().enumerate() {
            ranks[slot] = (k as f64 + 0.5) / row.len() as f64;
        }
    }
    ranks
}

fn crossings(rows: &[Vec<usize>], links: &[(usize, usize)]) -> usize {
    let mut index = std::collections::BTreeMap::new();
    for (layer, row) in rows.iter().enumerate() {
        row.iter().enumerate().for_each(|(k, &slot)| _ = index.insert(slot, (layer, k)));
    }
    let placed: Vec<((usize, usize), (usize, usize))> = links.iter().map(|(a, b)| (index[a], index[b])).collect();
    let crosses = |one: &((usize, usize), (usize, usize)), other: &((usize, usize), (usize, usize))| {
        one.0.0 == other.0.0
            && (one.0.1 < other.0.1) != (one.1.1 < other.1.1)
            && one.0.1 != other.0.1
            && one.1.1 != other.1.1
    };
    placed.iter().enumerate().map(|(k, one)| placed[k + 1..].iter().filter(|other| crosses(one, other)).count()).sum()
}

/// Centers near those of neighbours, in the order of each row.
fn place(slots: &mut [Slot], rows: &[Vec<usize>], neighbours: &Neighbours) {
    for row in rows {
        let mut at = 0.0;
        for &slot in row {
            slots[slot].center = at + slots[slot].width / 2.0;
            at += slots[slot].width + GAP;
        }
    }
    for sweep in 0..2 * SWEEPS {
        let indices: Vec<usize> =
            if sweep % 2 == 0 { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
        for row in indices.into_iter().map(|index| &rows[index]) {
            let wanted: Vec<f64> = row
                .iter()
                .map(|&slot| {
                    let near: Vec<f64> = [&neighbours.below[slot], &neighbours.above[slot]]
                        .into_iter()
                        .flatten()
                        .map(|&n| slots[n].center)
                        .collect();
                    if near.is_empty() { slots[slot].center } else { near.iter().sum::<f64>() / near.len() as f64 }
                })
                .collect();
            settle(slots, row, &wanted);
        }
    }
}

/// The centers nearest to those wanted (least squares) at which the boxes of a row do not overlap:
/// without the widths before each box this is isotonic regression, by pooling neighbours.
fn settle(slots: &mut [Slot], row: &[usize], wanted: &[f64]) {
    let mut offsets = Vec::with_capacity(row.len());
    let mut at = 0.0;
    for &slot in row {
        offsets.push(at + slots[slot].width / 2.0);
        at += slots[slot].width + GAP;
    }
    // Sums and numbers of boxes that move together.
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (wanted, offset) in wanted.iter().zip(&offsets) {
        pools.push((wanted - offset, 1));
        while let [.., (sum, count), (next, more)] = pools.as_slice()
            && sum / *count as f64 > next / *more as f64
        {
            let joined = (sum + next, count + more);
            pools.truncate(pools.len() - 2);
            pools.push(joined);
        }
    }
    let bases = pools.iter().flat_map(|&(sum, count)| std::iter::repeat_n(sum / count as f64, count));
    for ((&slot, base), offset) in row.iter().zip(bases).zip(offsets) {
        slots[slot].center = base + offset;
    }
}

/// Where edges leave and enter boxes: side by side, in the order in which they go on.
struct Ports {
    leaving: Vec<f64>,
    entering: Vec<f64>,
}

impl Ports {
    fn new(sizes: &[(f64, f64)], slots: &[Slot], chains: &[Vec<usize>]) -> Self {
        let mut ports = Self { leaving: vec![0.0; chains.len()], entering: vec![0.0; chains.len()] };
        for node in 0..sizes.len() {
            let spread = |edges: &mut Vec<(f64, usize)>, to: &mut Vec<f64>| {
                edges.sort_by(|a, b| a.0.total_cmp(&b.0));
                let step = (sizes[node].0 / (edges.len() + 1) as f64).min(40.0);
                let first = slots[node].center - step * (edges.len() as f64 - 1.0) / 2.0;
                edges.iter().enumerate().for_each(|(k, &(_, edge))| to[edge] = first + step * k as f64);
            };
            let of = |end: &dyn Fn(&Vec<usize>) -> (usize, usize)| -> Vec<(f64, usize)> {
                let all = chains.iter().enumerate().map(|(edge, chain)| (edge, end(chain)));
                all.filter(|(_, (own, _))| *own == node).map(|(edge, (_, next))| (slots[next].center, edge)).collect()
            };
            spread(&mut of(&|chain| (chain[0], chain[1])), &mut ports.leaving);
            spread(&mut of(&|chain| (chain[chain.len() - 1], chain[chain.len() - 2])), &mut ports.entering);
        }
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Boxes of a layer do not overlap, and edges lead upwards, in graphs drawn at random.
    #[test]
    fn boxes_do_not_overlap_and_edges_lead_upwards() {
        let mut state = 7u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..200 {
            let count = 1 + draw(14);
            let sizes: Vec<(f64, f64)> =
                (0..count).map(|_| (40.0 + draw(200) as f64, 20.0 + draw(60) as f64)).collect();
            let mut edges: Vec<(usize, usize)> = Vec::new();
            for to in 1..count {
                for _ in 0..draw(4) {
                    edges.push((draw(to), to));
                }
            }
            edges.sort();
            edges.dedup();
            let laid = layout(&sizes, &edges);
            for a in 0..count {
                let (ax, ay) = laid.corners[a];
                assert!(ax > -1e-6 && ay > -1e-6);
                assert!(ax + sizes[a].0 < laid.width + 1e-6 && ay + sizes[a].1 < laid.height + 1e-6);
                for b in 0..a {
                    let (bx, by) = laid.corners[b];
                    let apart = ax + sizes[a].0 <= bx + 1e-6
                        || bx + sizes[b].0 <= ax + 1e-6
                        || ay + sizes[a].1 <= by + 1e-6
                        || by + sizes[b].1 <= ay + 1e-6;
                    assert!(apart, "{a} and {b} overlap: {laid:?}");
                }
            }
            for (route, &(from, to)) in laid.routes.iter().zip(&edges) {
                assert!(route.windows(2).all(|pair| pair[1].1 <= pair[0].1 + 1e-6), "{from} to {to}: {route:?}");
            }
        }
    }
}
