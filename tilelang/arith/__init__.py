"""What is true of integers: simplification, bounds, divisibility, proofs, evaluation."""

from tilelang.arith.analyzer import Analyzer, simplify
from tilelang.arith.evaluate import evaluate
from tilelang.arith.interval import Interval
from tilelang.arith.knowledge import Congruence
from tilelang.arith.statements import simplify_stmt

__all__ = ["Analyzer", "Congruence", "Interval", "evaluate", "simplify", "simplify_stmt"]
