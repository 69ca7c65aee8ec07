"""Every count of the paper, to the last digit, from the networks as they are made."""

import json

import pytest

from torchdau.analysis.counts import counts

# network: units, parameters in the counted layers, all parameters where they are known
EXPECTED = {
    "CIFAR-10 network": (0, 251_424, None),
    "CIFAR-10 network, 4 units": (111_744, 335_232, None),
    "AlexNet": (0, 3_745_824, None),
    "DAU-AlexNet Large": (1_523_712, 4_571_136, None),
    "DAU-AlexNet Medium": (786_432, 2_359_296, None),
    "DAU-AlexNet Small": (393_216, 1_179_648, None),
    "ResNet-50 v2": (0, 11_317_248, 25_549_352),
    "DAU-ResNet-50 v2": (7_544_832 // 3, 7_544_832, 21_776_936),
    "ResNet-101 v2": (0, 21_344_256, 44_541_480),
    "DAU-ResNet-101 v2": (14_229_504 // 3, 14_229_504, 37_426_728),
    "AlexNet, segmentation": (0, 3_745_824, None),
    "DAU-AlexNet, segmentation": (786_432, 2_359_296, None),
    "DeepLab 1": (0, 21_344_256, None),
    "DeepLab 2": (0, 21_344_256, None),
    "DeepLab 3": (0, 21_344_256 + 14_155_776, None),
    "DeepLab 4": (0, 36_790_272, None),  # 9 * 256 * (304 + 256) more
    "DAU-DeepLab 1": (14_229_504 // 3, 14_229_504, None),
    "DAU-DeepLab 2": (14_229_504 // 3, 14_229_504, None),
    "DAU-DeepLab 3": ((14_229_504 + 9_437_184) // 3, 14_229_504 + 9_437_184, None),
    "DAU-DeepLab 4": (8_175_616, 24_526_848, None),  # 6 * 256 * (304 + 256) more
    "ASPP": (0, 14_155_776, 14_155_776),
    "DAU-6U": (9_437_184 // 3, 9_437_184, 9_437_184),
    "SRN-DeblurNet": (0, 6_878_240, None),
    "DAU-SRN-DeblurNet": (536_576, 1_780_768, None),
}


def test_counts():
    rows = {row.network: row for row in counts()}
    assert rows.keys() == EXPECTED.keys()
    for name, (units, spatial, total) in EXPECTED.items():
        row = rows[name]
        assert (row.units, row.spatial_parameters) == (units, spatial), name
        assert total in (None, row.total_parameters), name


@pytest.mark.parametrize("form", ["text", "json"])
def test_parameters_command(form, torchdau, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    torchdau("parameters", "--format", form)
    output = capsys.readouterr().out
    if form == "json":
        rows = {row["network"]: row for row in json.loads(output)}
        assert rows.keys() == EXPECTED.keys()
        assert rows["DAU-ResNet-50 v2"] == {
            "network": "DAU-ResNet-50 v2",
            "units": 2_514_944,
            "spatial_parameters": 7_544_832,
            "total_parameters": 21_776_936,
            "paper": "Table 6: 7.5 M, total 21.7 M",
        }
    else:
        (line,) = [line for line in output.splitlines() if line.startswith("DAU-ResNet-50")]
        assert line.split()[2:5] == ["2,514,944", "7,544,832", "21,776,936"]
