//! Bounds the cost of evaluating a token before it is evaluated.
//!
//! The engine checks its time limit only between rounds, and a single check that joins eight lists
//! of facts runs for years within one round. Any holder of a token can append such a check, so the
//! appended blocks are measured first. The checks that [`crate::narrow()`] appends look at one fact
//! each; the limits here allow a hundred times as much.

use biscuit_auth::format::schema::{
    self, Expression, Op, Predicate, Rule, SignedBlock, op::Content, op_binary, op_unary,
};
use biscuit_prost::Message;

use crate::AuthError;

/// Facts that may exist at the same time, including those that rules generate.
pub(crate) const FACTS_MAX: u64 = 128;
/// Rounds in which rules generate facts.
pub(crate) const ITERATIONS_MAX: u64 = 16;
/// Facts in the appended blocks.
const APPENDED_FACTS_MAX: usize = 64;
/// Rules in the appended blocks.
const RULES_MAX: usize = 8;
/// Facts that one check or rule may join.
const JOIN_MAX: usize = 8;
/// Steps of all expressions together.
const STEPS_MAX: usize = 512;
/// Facts that all checks and rules together may compare in one round.
const COMPARISONS_MAX: u64 = 20_000;
/// Facts of the authority block and of the request; each name occurs once.
const GIVEN_FACTS: u64 = 9;

/// Measures the blocks that were appended to a token.
///
/// # Errors
/// [`AuthError::Limit`] when a limit is exceeded; [`AuthError::Malformed`] for blocks that are
/// never accepted: those signed by third parties and those that declare trusted keys.
pub(crate) fn check(appended: &[SignedBlock]) -> Result<(), AuthError> {
    let mut blocks = Vec::with_capacity(appended.len());
    for signed in appended {
        let block = schema::Block::decode(&signed.block[..]).map_err(|_| AuthError::Malformed)?;
        if signed.external_signature.is_some() || !block.scope.is_empty() {
            return Err(AuthError::Malformed);
        }
        blocks.push(block);
    }
    let facts: Vec<&Predicate> =
        blocks.iter().flat_map(|block| &block.facts).map(|fact| &fact.predicate).collect();
    let rules: Vec<&Rule> = blocks.iter().flat_map(|block| &block.rules).collect();
    if facts.len() > APPENDED_FACTS_MAX || rules.len() > RULES_MAX {
        return Err(AuthError::Limit);
    }
    let checks = blocks.iter().flat_map(|block| &block.checks).flat_map(|check| &check.queries);
    let mut meter =
        Meter { facts, heads: rules.iter().map(|rule| rule.head.name).collect(), steps: 0 };
    let mut comparisons: u64 = 0;
    for query in rules.into_iter().chain(checks) {
        comparisons = comparisons.saturating_add(meter.query(query)?);
    }
    if comparisons > COMPARISONS_MAX { Err(AuthError::Limit) } else { Ok(()) }
}

struct Meter<'a> {
    facts: Vec<&'a Predicate>,
    heads: Vec<u64>,
    steps: usize,
}

impl Meter<'_> {
    /// The number of facts that a query may examine.
    fn query(&mut self, query: &Rule) -> Result<u64, AuthError> {
        if !query.scope.is_empty() {
            return Err(AuthError::Malformed);
        }
        if query.body.len() > JOIN_MAX {
            return Err(AuthError::Limit);
        }
        for expression in &query.expressions {
            self.expression(expression)?;
        }
        let all = GIVEN_FACTS + self.facts.len() as u64;
        let joined = query.body.iter().fold(1, |product: u64, predicate| {
            product.saturating_mul(self.matches(predicate.name))
        });
        // Every step of the join runs over all facts.
        Ok(joined.saturating_mul(all))
    }

    /// The number of facts that may have this name.
    fn matches(&self, name: u64) -> u64 {
        if self.heads.contains(&name) {
            return FACTS_MAX;
        }
        1 + self.facts.iter().filter(|fact| fact.name == name).count() as u64
    }

    fn expression(&mut self, expression: &Expression) -> Result<(), AuthError> {
        self.count(&expression.ops)
    }

    /// Counts steps. Rejects steps whose cost is unbounded: functions over sets, regular
    /// expressions and calls of foreign functions.
    fn count(&mut self, steps: &[Op]) -> Result<(), AuthError> {
        self.steps += steps.len();
        if self.steps > STEPS_MAX {
            return Err(AuthError::Limit);
        }
        for step in steps {
            let dear = match &step.content {
                Some(Content::Value(_)) => false,
                Some(Content::Unary(unary)) => unary.kind == op_unary::Kind::Ffi as i32,
                Some(Content::Binary(binary)) => {
                    let kinds = [op_binary::Kind::Regex, op_binary::Kind::Ffi];
                    kinds.iter().any(|kind| binary.kind == *kind as i32)
                }
                // The right-hand side of `&&` and `||` is a closure without parameters.
                Some(Content::Closure(closure)) if closure.params.is_empty() => {
                    self.count(&closure.ops)?;
                    false
                }
                Some(Content::Closure(_)) | None => true,
            };
            if dear {
                return Err(AuthError::Limit);
            }
        }
        Ok(())
    }
}
