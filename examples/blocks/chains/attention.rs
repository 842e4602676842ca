//! What lies between the matrices and is no op of this crate, on the CPU: attention, and rotation without a norm.

use super::Tensor;

/// Sequences that lie one after the other in the rows of a batch, without padding.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The tokens of each.
    pub sequences: Vec<usize>,
}

impl Batch {
    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.sequences.iter().sum()
    }

    /// The place of every row in its sequence.
    pub fn positions(&self) -> Vec<i64> {
        self.sequences.iter().flat_map(|&tokens| 0..tokens as i64).collect()
    }
}

/// Softmax attention, after Vaswani et al., *Attention Is All You Need* (2017).
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Elements of a head.
    pub head: usize,
    /// What q·k is multiplied by.
    pub scale: f64,
    /// Whether a token sees those before it alone.
    pub causal: bool,
    /// Gemma 2 bounds its scores: cap·tanh(score/cap).
    pub cap: Option<f64>,
}

impl Attention {
    /// Rows of heads, `rows × heads·head` for q and `rows × kv_heads·head` for k and v: every so many heads of q
    /// share one of k and v. In f64, and rounded once, as fused attention comes close to.
    pub fn of(&self, batch: &Batch, q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
        let head = self.head;
        let (queries, keys, values) = (q.values(), k.values(), v.values());
        let shared = q.columns / k.columns;
        let mut context = vec![0.0; queries.len()];
        let mut first = 0;
        for &tokens in &batch.sequences {
            for token in 0..tokens {
                for of_q in 0..q.columns / head {
                    let at = (first + token) * q.columns + of_q * head;
                    let of_k = |other: usize| (first + other) * k.columns + of_q / shared * head;
                    let seen = if self.causal { token + 1 } else { tokens };
                    let scores = (0..seen).map(|other| self.score(&queries[at..][..head], &keys[of_k(other)..]));
                    for (other, share) in softmax(scores.collect()).into_iter().enumerate() {
                        for (sum, value) in context[at..][..head].iter_mut().zip(&values[of_k(other)..]) {
                            *sum += share * value;
                        }
                    }
                }
            }
            first += tokens;
        }
        Tensor::of(q.dtype, q.columns, &context)
    }

    fn score(&self, q: &[f64], k: &[f64]) -> f64 {
        let score = self.scale * q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>();
        self.cap.map_or(score, |cap| cap * (score / cap).tanh())
    }
}

fn softmax(scores: Vec<f64>) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.into_iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Angles of a rotary embedding, `head / 2` of them: position·base^(-2i/head).
pub fn angles(position: i64, head: usize, base: f64) -> impl Iterator<Item = f64> {
    (0..head / 2).map(move |pair| position as f64 * base.powf(-2.0 * pair as f64 / head as f64))
}

/// Heads rotated by the positions of their rows, in halves, after Su et al., *RoFormer* (2021). Behind a norm of the
/// heads, the norm rotates them itself: see the Qwen3 chain.
pub fn rotate(batch: &Batch, x: &Tensor, head: usize, base: f64) -> Tensor {
    let mut values = x.values();
    for (row, position) in values.chunks_exact_mut(x.columns).zip(batch.positions()) {
        for part in row.chunks_exact_mut(head) {
            let (low, high) = part.split_at_mut(head / 2);
            for ((low, high), angle) in low.iter_mut().zip(high).zip(angles(position, head, base)) {
                let (sin, cos) = angle.sin_cos();
                (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
            }
        }
    }
    Tensor::of(x.dtype, x.columns, &values)
}
