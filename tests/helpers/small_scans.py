"""Small valid scans of other instruments, to be damaged."""

import numpy as np
import tifffile

ENERGIES = (700.0, 705.5, 720.0)
IRIXS_HEADER = "Scan Type: One Motor\nX Motor: BL 8 Energy\nData File Path: C:\\data\\240705\\CCD Scan 7\n"
IRIXS_COLUMNS = "Time\tFrame #\tBL 8 Energy\tIzero\tTFY\tTEY\tCounts\tBackground\tFilename\n"


def write_irixs(folder, frames=4):
    """A CCD scan of frames of 3 x 5 pixels."""
    (folder / "Andor").mkdir(parents=True)
    log = IRIXS_HEADER + IRIXS_COLUMNS
    for number in range(1, frames + 1):
        tifffile.imwrite(folder / "Andor" / f"cox7-{number:05d}.tif", np.full((3, 5), number, np.uint16))
        log += f"15:1{number}:24\t{number}.0\t{774 + number}.5\t1000.0\t20.0\t30.0\t{15 * number}.0\t336.0\t"
        log += f"cox7-{number:05d}\n"
    (folder / "cox7-AI.txt").write_text(log)
    return folder


def write_sdf(folder, unit="um"):
    """A stack of three images of 4 x 5 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    energies = ", ".join(map(str, ENERGIES))
    (folder / "s7.hdr").write_text(
        'ScanDefinition = { Label = "s7.hdr"; Type = "NEXAFS Image Scan"; Dwell = 2;\n'
        f'Regions = (1,\n{{\nPAxis = {{ Name = "Sample X"; Unit = "{unit}"; Points = (5, 0.0, 0.5, 1.0, 1.5, 2.0);}};\n'
        f'QAxis = {{ Name = "Sample Y"; Unit = "{unit}"; Points = (4, 10.0, 10.25, 10.5, 10.75);}};\n}});\n'
        f'StackAxis = {{ Name = "Energy"; Unit = "eV"; Points = (3, {energies});}};\n'
        'Channels = (1,\n{ Name = "counter0"; Unit = "counts";});\n};\n'
        'Time = "2007 December 14 18:52:00"; StorageRingCurrent = 333.4; PMT_CounterDivider = 10;\n'
        'Image2 = {StorageRingCurrent = 331; Time = "2007 December 14 18:52:30";};\n'
        'Image3 = {StorageRingCurrent = 330; Time = "2007 December 14 18:53:30";};\n',
        encoding="utf-8",
    )
    for index in range(3):
        rows = np.arange(20).reshape(4, 5) + 20 * index + 0.25
        text = "".join("\t".join(f"{value:.6f}" for value in row) + "\n" for row in rows)
        (folder / f"s7_a{index:03d}.xim").write_text(text)
    return folder


def write_sdf_points(folder):
    """Spectra at two points with two channels, of four energies."""
    folder.mkdir(parents=True, exist_ok=True)
    axis = 'PAxis = { Name = "Energy"; Unit = "eV"; Min = 700; Max = 703; Points = (4, 700, 701, 702, 703);};'
    (folder / "s8.hdr").write_text(
        'ScanDefinition = { Label = "s8.hdr"; Type = "NEXAFS Point Scan"; Flags = "Spectra"; Dwell = 100;\n'
        f"Regions = (2,\n{{ {axis}}},\n{{ {axis}}});\n"
        'Channels = (2,\n{ Name = "PMT"; Unit = "counts";},\n{ Name = "I0"; Unit = "counts";});\n};\n'
        'Time = "2021 January 27 11:52:49"; StorageRingCurrent = 298; PMT_CounterDivider = 10;\n'
        "ImageScan = { SpatialRegions = (2, { CentreXPos = 1; CentreYPos = 2;}, { CentreXPos = 3;});};\n",
        encoding="utf-8",
    )
    for point in range(2):
        rows = [f"{700 + row}\t{1000 + row}\t{2000 + point}\t\n" for row in range(4)]
        (folder / f"s8_{point}.xsp").write_text("".join(rows))
    return folder
