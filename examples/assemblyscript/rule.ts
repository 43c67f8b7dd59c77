// The numbers of stars that are worth a message: 1, 5, 10, 50, 100, 500 and so on.

export function milestone(stars: i32): boolean {
  let round = 1;
  while (round * 10 <= stars) round *= 10;
  return stars == round || stars == 5 * round;
}
