"""Planning of variants: sizes, sharing of files, order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_processor.variants import DEFAULT_VARIANTS, PictureFormat, VariantSpec, plan, variants_of
from shared.events import EntityTypeSettings, VariantFormat, VariantSettings


def sizes(width_px: int, height_px: int) -> dict[str, tuple[int, int, str]]:
    return {
        variant.name: (variant.width_px, variant.height_px, variant.file_name)
        for variant in plan(DEFAULT_VARIANTS, width_px, height_px)
    }


@pytest.mark.parametrize(
    ("width_px", "height_px", "expected"),
    [
        (
            4000,
            3000,
            {
                "large": (2000, 1500, "large.webp"),
                "medium": (1200, 900, "medium.webp"),
                "small": (640, 480, "small.webp"),
                "thumb": (200, 150, "thumb.webp"),
            },
        ),
        (
            640,
            480,
            {
                "large": (640, 480, "large.webp"),
                "medium": (640, 480, "large.webp"),
                "small": (640, 480, "large.webp"),
                "thumb": (200, 150, "thumb.webp"),
            },
        ),
        (
            1,
            1,
            {
                "large": (1, 1, "large.webp"),
                "medium": (1, 1, "large.webp"),
                "small": (1, 1, "large.webp"),
                "thumb": (1, 1, "large.webp"),
            },
        ),
        (
            10_000,
            1,
            {
                "large": (2000, 1, "large.webp"),
                "medium": (1200, 1, "medium.webp"),
                "small": (640, 1, "small.webp"),
                "thumb": (200, 1, "thumb.webp"),
            },
        ),
        (
            1000,
            40_000,
            {
                "large": (410, 16_383, "large.webp"),
                "medium": (410, 16_383, "large.webp"),
                "small": (410, 16_383, "large.webp"),
                "thumb": (200, 8000, "thumb.webp"),
            },
        ),
    ],
)
def test_sizes(width_px: int, height_px: int, expected: dict[str, tuple[int, int, str]]) -> None:
    assert sizes(width_px, height_px) == expected


def test_variants_of_another_format_or_quality_do_not_share_a_file() -> None:
    specs = (
        VariantSpec("webp", 800),
        VariantSpec("avif", 800, PictureFormat.AVIF),
        VariantSpec("fine", 800, quality=95),
        VariantSpec("again", 900),
    )
    planned = {variant.name: variant for variant in plan(specs, 500, 500)}
    assert {name for name, variant in planned.items() if variant.shares_file} == {"webp"}
    assert planned["webp"].file_name == "again.webp"
    assert planned["avif"].file_name == "avif.avif"


@pytest.mark.parametrize("bad_name", ["", "../up", "a/b", "a.b", "a b", "ä"])
def test_a_name_that_is_no_file_name_is_refused(bad_name: str) -> None:
    with pytest.raises(ValueError, match="variant name"):
        VariantSpec(bad_name, 100)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 px"):
        plan(DEFAULT_VARIANTS, 0, 10)
    with pytest.raises(ValueError, match="no variants"):
        plan((), 10, 10)
    with pytest.raises(ValueError, match="must differ"):
        plan((VariantSpec("a", 1), VariantSpec("a", 2)), 10, 10)
    with pytest.raises(ValueError, match="px wide"):
        VariantSpec("a", 0)
    with pytest.raises(ValueError, match="quality"):
        VariantSpec("a", 1, quality=101)


def test_an_entity_type_has_its_own_variants_or_the_defaults() -> None:
    own = (VariantSpec("only", 300),)
    assert variants_of("product", {"product": own}) == own
    assert variants_of("event", {"product": own}) == DEFAULT_VARIANTS


def test_what_people_changed_goes_over_what_the_process_was_started_with() -> None:
    changed = EntityTypeSettings(
        variants=(VariantSettings(name="hero", width_px=900, format=VariantFormat.JPEG, quality=70),)
    )
    started_with = {"product": (VariantSpec("card", 400),)}
    assert variants_of("product", started_with, changed) == (VariantSpec("hero", 900, PictureFormat.JPEG, 70),)


spec_lists = st.lists(
    st.builds(
        VariantSpec,
        name=st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
        width_px=st.integers(1, 8000),
        format=st.sampled_from(PictureFormat),
        quality=st.integers(1, 100),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda spec: spec.name,
)
sides = st.integers(1, 60_000)


@given(specs=spec_lists, width_px=sides, height_px=sides)
def test_every_plan(specs: list[VariantSpec], width_px: int, height_px: int) -> None:
    planned = plan(specs, width_px, height_px)
    wanted = {spec.name: spec for spec in specs}
    assert {variant.name for variant in planned} == set(wanted)
    for variant in planned:
        spec = wanted[variant.name]
        assert 1 <= variant.width_px <= min(spec.width_px, width_px)
        assert 1 <= variant.height_px <= height_px
        assert max(variant.width_px, variant.height_px) <= spec.format.longest_side_px
        # The aspect is kept to within the half pixel of rounding on either side, and no side is shorter than one.
        longer, shorter = (0, 1) if width_px >= height_px else (1, 0)
        sides_px, source_px = (variant.width_px, variant.height_px), (width_px, height_px)
        scale = sides_px[longer] / source_px[longer]
        tolerance_px = 0.51 + 0.51 * source_px[shorter] / source_px[longer]
        assert abs(sides_px[shorter] - max(1.0, source_px[shorter] * scale)) <= tolerance_px
    assert [v.width_px for v in planned] == sorted((v.width_px for v in planned), reverse=True)
    owners = {variant.file_name: variant for variant in planned if not variant.shares_file}
    assert len(owners) == sum(not variant.shares_file for variant in planned)
    for at, variant in enumerate(planned):
        owner = owners[variant.file_name]
        assert (owner.width_px, owner.height_px, owner.format, owner.quality) == (
            variant.width_px,
            variant.height_px,
            variant.format,
            variant.quality,
        )
        assert owner in planned[: at + 1]


@given(specs=spec_lists, width_px=sides, height_px=sides)
def test_no_two_files_of_a_plan_are_the_same(specs: list[VariantSpec], width_px: int, height_px: int) -> None:
    files = [v for v in plan(specs, width_px, height_px) if not v.shares_file]
    assert len({(v.width_px, v.height_px, v.format, v.quality) for v in files}) == len(files)
