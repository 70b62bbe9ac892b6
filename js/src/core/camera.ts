// What the reader moved: factors on the column and row gaps, and where the first column and lowest row are.

export interface Camera {
  zoom: number; // of the columns; 1 is the natural size
  rows?: number; // of the rows; 1 where it is not given
  x: number | null; // px from the resting place of the first column; null starts at the target
  y: number | null; // px from the resting place of the lowest row; null starts at the target's
}

export const HOME: Camera = { zoom: 1, x: null, y: null };
