"""What must be said of an image retrieval score: too few samples, retrieval that no uniform draw explains, bias."""

from __future__ import annotations

from genaudit.metrics.result import Caution


def cautions_of_law(
    n: int, k: int, law: float, law_reference: float | None, bias: float | None, alpha: float
) -> list[Caution]:
    """Cautions for `n` samples that retrieve `k` training images; `law`, `law_reference` and `bias` are p-values."""
    cautions = []
    if n == 1:
        cautions.append(Caution("single-sample", "A single sample identifies no diversity: irs_inf is not a number."))
    elif k == n:
        message = f"No two of the {n} samples retrieve the same training image: nothing bounds irs_inf from above, and "
        cautions.append(Caution("no-duplicates", message + "1 is its cap, not an estimate; more samples are needed."))
    if law < alpha:
        message = f"Some training images are retrieved more often than uniform draws allow (p = {law:.2g}): irs_inf, "
        message += "which assumes uniform draws, is a lower bound that grows with the number of samples"
        if law_reference is not None and law_reference < alpha:
            message += "; held-out real images are uneven too, so that the feature space may be the cause"
        cautions.append(Caution("uneven-retrieval", f"{message}."))
    elif law_reference is not None and law_reference < alpha:
        message = "Held-out real images retrieve some training images more often than uniform draws allow (p = "
        message += f"{law_reference:.2g}): irs_inf, which assumes uniform draws, is a lower bound"
        cautions.append(Caution("uneven-retrieval", f"{message}."))
    if bias is not None and bias < alpha:
        message = f"The samples favour some training images more than held-out real images do (p = {bias:.2g})."
        cautions.append(Caution("bias-amplified", message))
    return cautions
